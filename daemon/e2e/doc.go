// Package e2e holds the tests and benchmarks of the whole: the real programs (package mesh) on hosts made of network
// namespaces, behind real NATs (package lab). Package demo shows the same to people.
package e2e
