// Package flashback is the Go client of the Flashback platform's API.
package flashback
