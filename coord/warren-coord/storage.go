package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

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
	folder, keep := "", 0
	cmd := stored(e, "backup FILE", "Back up the whole server, also while it runs", textBackupLong, cobra.MaximumNArgs(1),
		func(cmd *cobra.Command, args []string, database string) error {
			if (len(args) == 1) == (folder != "") || keep < 1 {
				return errors.New(textBackupWhere)
			}
			if folder == "" {
				if err := server.Backup(cmd.Context(), e.dir, database, args[0]); err != nil {
					return err
				}
				_, err := fmt.Fprintf(cmd.OutOrStdout(), textBackup, args[0])
				return err
			}
			file, err := backupInto(cmd.Context(), e.dir, database, folder, time.Now())
			if err != nil {
				return err
			}
			if _, err := fmt.Fprintf(cmd.OutOrStdout(), textBackup, file); err != nil {
				return err
			}
			return removeOld(folder, keep)
		})
	cmd.Flags().StringVar(&folder, "into", "", textFlagInto)
	cmd.Flags().IntVar(&keep, "keep", 14, textFlagKeep)
	return cmd
}

// backupName is what a backup in a folder is called: the names sort by their time, in UTC.
const backupName = "warren-coord-2006-01-02T150405Z.backup"

// backupInto writes a backup that is named by the time. It gets its name when it is whole.
func backupInto(ctx context.Context, dir, database, folder string, now time.Time) (string, error) {
	file := filepath.Join(folder, now.UTC().Format(backupName))
	work := filepath.Join(folder, ".warren-coord.backup.new")
	if err := os.Remove(work); err != nil && !errors.Is(err, fs.ErrNotExist) { // one was killed
		return "", fmt.Errorf("cannot back up: %w", err)
	}
	if err := server.Backup(ctx, dir, database, work); err != nil {
		return "", err
	}
	if err := os.Rename(work, file); err != nil {
		return "", fmt.Errorf("cannot back up: %w", err)
	}
	return file, nil
}

// removeOld removes all but the newest backups that backupInto wrote into a folder.
func removeOld(folder string, keep int) error {
	entries, err := os.ReadDir(folder) // sorted by name
	if err != nil {
		return fmt.Errorf("cannot look for old backups: %w", err)
	}
	files := slices.DeleteFunc(entries, func(e os.DirEntry) bool {
		_, err := time.Parse(backupName, e.Name())
		return err != nil
	})
	for _, file := range files[:max(0, len(files)-keep)] {
		if err := os.Remove(filepath.Join(folder, file.Name())); err != nil {
			return fmt.Errorf("cannot remove an old backup: %w", err)
		}
	}
	return nil
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
