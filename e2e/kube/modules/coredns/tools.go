//go:build tools

// Package tools names the program to build, so that go.mod and go.sum cover it.
package tools

import _ "github.com/coredns/coredns"
