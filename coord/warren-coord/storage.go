package main

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/warren-mesh/warren/coord/server"
)

// envDatabase names the database where --database does not.
const envDatabase = "WARREN_DATABASE"

// maxDatabase is of a file that holds a URL, in bytes.
const maxDatabase = 4096

func (e *env) databaseFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&e.database, "database", "", textFlagDatabase)
}

// postgres is the URL of the PostgreSQL database; empty: SQLite is used. No error repeats it: it may hold a password.
func (e *env) postgres() (string, error) {
	if e.database == "" {
		return fromFile(os.Getenv(envDatabase))
	}
	u, err := url.Parse(e.database)
	if err != nil {
		return "", errors.New(textBadDatabase)
	}
	if _, password := u.User.Password(); password || u.Query().Has("password") || u.Query().Has("sslpassword") {
		return "", errors.New(textOpenPassword)
	}
	return fromFile(e.database)
}

// fromFile reads the URL from a file, if file: names one.
func fromFile(named string) (string, error) {
	path, ok := strings.CutPrefix(named, "file:")
	if !ok {
		return named, nil
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return "", fmt.Errorf("cannot read the database's URL: %w", err)
	case info.Mode().Perm()&0o004 != 0:
		return "", fmt.Errorf(textOpenFile, path, path)
	case info.Size() > maxDatabase:
		return "", fmt.Errorf("%s: %s", path, textBadDatabase)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("cannot read the database's URL: %w", err)
	}
	address := strings.TrimSpace(string(text))
	if address == "" {
		return "", fmt.Errorf("%s: %s", path, textBadDatabase)
	}
	return address, nil
}

// stored makes a command that needs the server's storage, and not the server.
func stored(e *env, use, short, long string, args cobra.PositionalArgs, do func(cmd *cobra.Command, args []string, database string) error) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Long: long, Args: args,
		RunE: func(cmd *cobra.Command, args []string) error {
			database, err := e.postgres()
			if err != nil {
				return err
			}
			return do(cmd, args, database)
		},
	}
	e.databaseFlag(cmd)
	return cmd
}

func backupCommand(e *env) *cobra.Command {
	return stored(e, "backup FILE", "Back up the whole server, also while it runs", textBackupLong, cobra.ExactArgs(1),
		func(cmd *cobra.Command, args []string, database string) error {
			if err := server.Backup(cmd.Context(), e.dir, database, args[0]); err != nil {
				return err
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), textBackup, args[0])
			return err
		})
}

func restoreCommand(e *env) *cobra.Command {
	replica := false
	cmd := stored(e, "restore FILE", "Set a server up from a backup", textRestoreLong, cobra.ExactArgs(1),
		func(cmd *cobra.Command, args []string, database string) error {
			restore, text := server.Restore, textRestore
			if replica {
				restore, text = server.RestoreReplica, textReplica
			}
			if err := restore(cmd.Context(), e.dir, database, args[0]); err != nil {
				return err
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), text, args[0], e.dir)
			return err
		})
	cmd.Flags().BoolVar(&replica, "replica", false, textFlagReplica)
	return cmd
}

func migrateStorageCommand(e *env) *cobra.Command {
	return stored(e, "migrate-storage", "Move a stopped server's database from SQLite to PostgreSQL", textMigrateLong, cobra.NoArgs,
		func(cmd *cobra.Command, _ []string, database string) error {
			if database == "" {
				return errors.New(textNoTarget)
			}
			old, err := server.MoveToPostgres(cmd.Context(), e.dir, database)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), textMigrate, old)
			return err
		})
}
