package notify

import (
	"strconv"
	"strings"
	"time"

	"github.com/warren-mesh/warren/app/internal/view"
)

// words are what is said in one language, with {0}, {1} for what it is about.
type words struct {
	connected, connectedText      string // {0}: the network; {0}, {1}: this machine and its address
	login, loginText, loginButton string // {0}: the network or server
	key, keyText, keyButton       string // {0}: when
	exit, exitText, exitButton    string // {0}: the exit node
	days, hours, soon             string // {0}: how many
}

var languages = map[view.Language]*words{
	view.English: {
		connected: "Connected to {0}", connectedText: "This machine is {0} ({1}).",
		login: "Log in to {0}", loginText: "Until then, this machine is off its network.", loginButton: "Log in",
		key: "This machine's login ends {0}", keyText: "Extend it now, and no connection breaks.", keyButton: "Extend",
		exit: "The exit node {0} is gone", exitText: "Nothing reaches the internet until it is back. Turned off, the internet is reached without it.",
		exitButton: "Turn off",
		days:       "in {0} days", hours: "in {0} hours", soon: "within two hours",
	},
	view.German: {
		connected: "Mit {0} verbunden", connectedText: "Dieser Rechner ist {0} ({1}).",
		login: "Bei {0} anmelden", loginText: "Bis dahin ist dieser Rechner nicht in seinem Netz.", loginButton: "Anmelden",
		key: "Die Anmeldung dieses Rechners endet {0}", keyText: "Jetzt verlängert, bricht keine Verbindung ab.", keyButton: "Verlängern",
		exit: "Der Exit-Knoten {0} ist weg", exitText: "Nichts erreicht das Internet, bis er wieder da ist. Ausgeschaltet geht es ohne ihn ins Internet.",
		exitButton: "Ausschalten",
		days:       "in {0} Tagen", hours: "in {0} Stunden", soon: "in weniger als zwei Stunden",
	},
	view.Chinese: {
		connected: "已连接到 {0}", connectedText: "本机是 {0}（{1}）。",
		login: "请登录 {0}", loginText: "登录之前，本机不在网络中。", loginButton: "登录",
		key: "本机的登录将{0}到期", keyText: "现在续期，连接不会中断。", keyButton: "续期",
		exit: "出口节点 {0} 已不可用", exitText: "在它恢复之前无法访问互联网。关闭后将不经它直接访问互联网。", exitButton: "关闭",
		days: "在 {0} 天后", hours: "在 {0} 小时后", soon: "在两小时内",
	},
}

func speak(l view.Language) *words {
	if w := languages[l]; w != nil {
		return w
	}
	return languages[view.English]
}

func (w *words) fill(text string, with ...string) string {
	pairs := make([]string, 0, 2*len(with))
	for i, v := range with {
		pairs = append(pairs, "{"+strconv.Itoa(i)+"}", v)
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

func number(d time.Duration) string { return strconv.FormatInt(int64(d), 10) }
