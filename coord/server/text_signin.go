package server

import (
	"fmt"
	"net/http"
	"time"

	"github.com/warren-mesh/warren/coord"
)

// What the server says to people about accounts and signing in; all else it says is in text.go.

// codeProvider is of refusals that have to do with a provider that people sign in with.
const codeProvider = "provider"

var (
	errSignUpOver    = refuse(http.StatusForbidden, "not-allowed", "Accounts here are made by invitation: ask somebody who has one")
	errTicket        = refuse(http.StatusForbidden, coord.CodeBadRequest, "The page was open for too long, or in another browser: begin again")
	errSpent         = refuse(http.StatusConflict, "spent", "This was done already: if you are not signed in, sign in again")
	errNoProvider    = refuse(http.StatusNotFound, "not-found", "There is no such provider (any more)")
	errJourney       = refuse(http.StatusForbidden, codeProvider, "This sign-in took too long, or was begun in another browser: begin again")
	errIdentityTaken = refuse(http.StatusConflict, codeProvider, "Another account here is signed in to with this: sign in with it, or remove it there first")
	errPasskeysFull  = refuse(http.StatusConflict, "full", "This account has as many passkeys as one can have: remove one first")
	errLastWay       = refuse(http.StatusConflict, "last-way", "This is the only way in that this account has: set a password, or add another first")
)

const (
	textPasskey            = "Passkey"
	textWrongPasskey       = "That passkey is not known here: was it removed, or made for another server?"
	textWrongNewPasskey    = "The passkey could not be added: try again, perhaps with another device."
	textSignUpOver         = "Accounts here are made by invitation: ask somebody who has one."
	textSignUpDomains      = "This server sends no mail, so it cannot check an address itself: sign in with one of the buttons instead, and the account is made."
	textSecond             = "Second step"
	textRecovery           = "Recovery codes"
	textSecondOver         = "That took too long, or was done already: sign in again."
	textWrongSecond        = "That is not the code, or it was used already."
	textWrongEnrol         = "That is not the app’s code now. If it goes on, check the time on your phone."
	textSecondOffAsk       = "Turn the second step off?"
	textSecondOffWhat      = "Your password alone will sign you in again, and your recovery codes are void."
	textSecondOff          = "Turn off"
	textResetSecondAsk     = "Reset the second step of %s?"
	textResetSecondWhat    = "Their app’s codes and recovery codes are void, and all their browsers are signed out. Their password alone signs them in until they set it up again."
	textResetSecond        = "Reset"
	textProviders          = "Sign-in providers"
	textProviderAway       = "The issuer does not answer as a provider does: check its address, and that this server reaches it."
	textProviderTaken      = "There is a provider of this name or issuer already."
	textRemoveProviderAsk  = "Remove %s?"
	textRemoveProviderWhat = "Nobody can sign in with it any more. Accounts stay, and know their people again when it is added again; those without another way in need a password from the host."
	textRemoveProvider     = "Remove provider"
	textProviderDenied     = "%s did not sign you in: try again, or sign in another way"
	textProviderExpired    = "What %s answered is too old, or a clock is wrong: try again, and tell an owner if it goes on"
	textProviderAnswer     = "What %s answered is not valid for this sign-in: try again, and tell an owner if it goes on"
	textProviderClient     = "%s does not know this server: an owner should check its client id and secret"
	textProviderDown       = "%s does not answer now: try again in a minute, or sign in another way"
	textProviderNotAllowed = "Your account at %s is not among those that may sign in here: ask an owner of the network"
	textProviderNobody     = "Nobody here is known by this account at %s: ask for an invitation, or sign in another way and add it to your account"
	textProviderDomain     = "Your account at %s has no verified e-mail address in a domain that may sign up here: ask for an invitation"
	textLinkAsk            = "Sign in with %s from now on?"
	textLinkWhat           = "You are %s at %s. Whoever signs in there as that will be %s here. Add it only if it is yours."
	textLink               = "Add it"
)

func sayWaitSignUp(d time.Duration) string {
	return fmt.Sprintf("Many accounts were made from your network: wait %s, then try again", max(d, time.Second).Round(time.Second))
}
