//go:build tools

// Package tools names what to build, so that go.mod and go.sum cover it.
package tools

import (
	_ "go.etcd.io/etcd/tests/v3/common"
)
