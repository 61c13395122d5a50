// Package proof holds the tests that play every schedule, network and crowd. It has nothing to import.
package proof
