// The cases of e2e/clients in Go: clientv3 with its packages concurrency, namespace, naming, leasing and ordering.
// It runs inside lab.py, which gives it three members, one with TLS, and a way to break them.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

const (
	caseTime = 180 * time.Second // far more than any needs, on a busy machine too
	// So long the one that must wait is given to do the wrong thing; a slow machine makes the test weaker, never red.
	wrongTime = 300 * time.Millisecond
)

type testCase struct {
	name string
	run  func(ctx context.Context, c *clientv3.Client, prefix string) error
}

var cases = []testCase{
	{"watch resume", watchResume}, // first: no other case has left a watch
	{"kv", kv},
	{"txn", txn},
	{"watch", watch},
	{"lease", lease},
	{"lock", lock},
	{"lock of a lost session", lockLost},
	{"election", election},
	{"software transactions", stm},
	{"namespace", namespaces},
	{"naming", naming},
	{"naming resolver", namingResolver},
	{"leasing and ordering", leasingOrdering},
	{"tls", tlsCase},
	{"auth", auth},
}

func connect(options ...func(*clientv3.Config)) (*clientv3.Client, error) {
	config := clientv3.Config{Endpoints: strings.Split(os.Getenv("CLIENT_ENDPOINTS"), ","), DialTimeout: 10 * time.Second,
		Logger: zap.NewNop()} // the cases provoke errors; the client would log each
	for _, o := range options {
		o(&config)
	}
	return clientv3.New(config)
}

func control(action string) error {
	r, err := http.Post(os.Getenv("CLIENT_CONTROL")+action, "", nil)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	text, _ := io.ReadAll(r.Body)
	if r.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", action, text)
	}
	return nil
}

// expect is nil if got equals want.
func expect[T comparable](what string, got, want T) error {
	if got != want {
		return fmt.Errorf("%s: got %v, want %v", what, got, want)
	}
	return nil
}

// refused is nil if an error has this text.
func refused(what string, err error, text string) error {
	if err == nil || !strings.Contains(err.Error(), text) {
		return fmt.Errorf("%s: got error %v, want %q", what, err, text)
	}
	return nil
}

func runCase(t testCase) error {
	ctx, cancel := context.WithTimeout(context.Background(), caseTime)
	defer cancel()
	c, err := connect()
	if err != nil {
		return err
	}
	defer c.Close()
	return t.run(ctx, c, "go/"+strings.ReplaceAll(t.name, " ", "-")+"/")
}

func main() {
	failed := false
	for _, t := range cases {
		if err := runCase(t); err != nil {
			failed = true
			fmt.Printf("FAIL  %s: %s\n", t.name, strings.ReplaceAll(err.Error(), "\n", "; "))
		} else {
			fmt.Printf("ok    %s\n", t.name)
		}
	}
	if failed {
		os.Exit(1)
	}
}

func put(ctx context.Context, c clientv3.KV, pairs ...string) error {
	for i := 0; i < len(pairs); i += 2 {
		if _, err := c.Put(ctx, pairs[i], pairs[i+1]); err != nil {
			return err
		}
	}
	return nil
}

func valueOf(ctx context.Context, c clientv3.KV, key string) (string, error) {
	r, err := c.Get(ctx, key)
	if err != nil || len(r.Kvs) == 0 {
		return "", errors.Join(err, errIf(err == nil, key+" is not there"))
	}
	return string(r.Kvs[0].Value), nil
}

func errIf(condition bool, text string) error {
	if condition {
		return errors.New(text)
	}
	return nil
}
