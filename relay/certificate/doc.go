// Package certificate gets the TLS certificates of Warren's two servers: Files are in somebody else's care and read again
// when they change, an Authority asks a public one (ACME, RFC 8555). A server's own, which machines pin, is its own affair.
package certificate
