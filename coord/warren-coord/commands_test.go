package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/warren-mesh/warren/coord/server"
)

// operationsAt says with which command the host's administrator does each operation of the API. Without a space at its
// beginning it is the reason why there is none.
var operationsAt = map[string]string{
	"getStatus": " status", "listMachines": " machine list", "getMachine": " machine list", "renameMachine": " machine rename", "tagMachine": " machine tag",
	"expireMachine": " machine expire", "extendMachine": " machine extend", "approveMachine": " machine approve", "denyMachine": " machine deny",
	"removeMachine": " machine remove", "listUsers": " user list", "getUser": " user list", "addUser": " user add", "setUserRole": " user role",
	"setUserPassword": " user password", "resetUserSecond": " user reset-second", "removeUser": " user remove", "listInvitations": " invitation list",
	"addInvitation": " invitation create", "removeInvitation": " invitation revoke", "listKeys": " key list", "getKey": " key list", "addKey": " key create",
	"revokeKey": " key revoke", "listRelays": " relay list", "setRelay": " relay add", "removeRelay": " relay remove", "getSettings": " settings show",
	"setSettings": " settings set", "listProviders": " provider list", "addProvider": " provider add", "setProvider": " provider set", "removeProvider": " provider remove",
	"listTokens": " token list", "addToken": " token create", "removeToken": " token revoke", "listAudit": " audit", "exportAudit": " audit",
	"listWebhooks": " webhook list", "addWebhook": " webhook add", "setWebhook": " webhook set", "removeWebhook": " webhook remove", "testWebhook": " webhook test",
	"setMachineRoutes": " machine routes", "setMachineRelaying": " machine relay",
	"getPolicy": " policy get", "getPolicyVersion": " policy get", "setPolicy": " policy set", "checkPolicy": " policy check", "previewPolicy": " policy preview",
	"explainPolicy": " policy why", "listPolicyVersions": " policy history", "restorePolicy": " policy restore",
	"getDNS": " dns show", "setDNS": " dns set", "setDNSSplit": " dns split", "removeDNSSplit": " dns split", "changeDNSRecords": " dns add",
	"getAccount": "is a person's own", "setOwnPassword": "is a person's own", "listSignIns": "is a person's own", "removeSignIn": "is a person's own",
	"removeSignIns": "is a person's own",
}

func TestTheCommandLineDoesAllThatTheAPIDoes(t *testing.T) {
	dir := t.TempDir()
	if err := server.Init(t.Context(), dir, server.InitOptions{URL: "https://127.0.0.1:1"}); err != nil {
		t.Fatal(err)
	}
	s, err := server.Open(t.Context(), dir, server.Options{BehindProxy: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/api/openapi.json", nil))
	var doc struct {
		Paths map[string]map[string]struct {
			ID string `json:"operationId"`
		} `json:"paths"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil || len(doc.Paths) == 0 {
		t.Fatalf("%v in %.100s", err, w.Body.String())
	}
	for path, methods := range doc.Paths {
		for method, o := range methods {
			how, ok := operationsAt[o.ID]
			if !ok {
				t.Errorf("%s %s (%s) stands in no command: make one, or say here why not", method, path, o.ID)
			}
			words, is := strings.CutPrefix(how, " ")
			if !is {
				continue
			}
			if c, rest, err := root().Find(strings.Fields(words)); err != nil || len(rest) > 0 || c.HasSubCommands() {
				t.Errorf("%s: there is no command %q (%v)", o.ID, words, err)
			}
		}
	}
}
