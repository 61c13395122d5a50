//go:build go1.27

package attempt

const resendsReset = false // see the file for Go 1.26
