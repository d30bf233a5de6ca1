package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func as(user, password string) func(*clientv3.Config) {
	return func(c *clientv3.Config) { c.Username, c.Password = user, password }
}

func auth(ctx context.Context, c *clientv3.Client, p string) error {
	steps := []func() error{
		func() error { _, err := c.UserAdd(ctx, "root", "root-secret"); return err },
		func() error { _, err := c.UserGrantRole(ctx, "root", "root"); return err },
		func() error { _, err := c.RoleAdd(ctx, "reader"); return err },
		func() error {
			_, err := c.RoleGrantPermission(ctx, "reader", p, clientv3.GetPrefixRangeEnd(p), clientv3.PermissionType(clientv3.PermRead))
			return err
		},
		func() error { _, err := c.UserAdd(ctx, "alice", "alice-secret"); return err },
		func() error { _, err := c.UserGrantRole(ctx, "alice", "reader"); return err },
		func() error { return put(ctx, c, p+"a", "1") },
		func() error { _, err := c.AuthEnable(ctx); return err },
	}
	for i, step := range steps {
		if err := step(); err != nil {
			return fmt.Errorf("step %d: %w", i, err)
		}
	}
	root, err := connect(as("root", "root-secret"))
	if err != nil {
		return err
	}
	defer root.Close()
	problems := withUsers(ctx, c, root, p)
	if _, err := root.AuthDisable(ctx); err != nil {
		return errors.Join(problems, err)
	}
	return errors.Join(problems, put(ctx, c, p+"a", "3"))
}

func withUsers(ctx context.Context, nobody, root *clientv3.Client, p string) error {
	alice, err := connect(as("alice", "alice-secret"))
	if err != nil {
		return err
	}
	defer alice.Close()
	if wrong, err := connect(as("alice", "guess")); err == nil {
		wrong.Close()
		return errors.New("a wrong password was taken")
	} else if err := refused("wrong password", err, "authentication failed"); err != nil {
		return err
	}
	value, err := valueOf(ctx, alice, p+"a")
	_, write := alice.Put(ctx, p+"a", "2")
	_, outside := alice.Get(ctx, "elsewhere")
	_, manage := alice.UserAdd(ctx, "mallory", "x")
	_, without := nobody.Get(ctx, p+"a")
	if err := errors.Join(err, expect("value", value, "1"), expect("write", write, rpctypes.ErrPermissionDenied),
		expect("outside", outside, rpctypes.ErrPermissionDenied), expect("manage users", manage, rpctypes.ErrPermissionDenied),
		expect("no user", without, rpctypes.ErrUserEmpty)); err != nil {
		return err
	}
	// A right that is taken away ends at once, also for a token given out before.
	if _, err := root.UserRevokeRole(ctx, "alice", "reader"); err != nil {
		return err
	}
	_, later := alice.Get(ctx, p+"a")
	user, err := root.UserGet(ctx, "alice")
	if err != nil {
		return err
	}
	return errors.Join(expect("after revoke", later, rpctypes.ErrPermissionDenied), expect("roles", len(user.Roles), 0), put(ctx, root, p+"a", "2"))
}

func tlsConfig(ca, certificate string) (*tls.Config, error) {
	pki := os.Getenv("CLIENT_PKI")
	pem, err := os.ReadFile(filepath.Join(pki, ca+".crt"))
	if err != nil {
		return nil, err
	}
	config := &tls.Config{RootCAs: x509.NewCertPool()}
	config.RootCAs.AppendCertsFromPEM(pem)
	if certificate != "" {
		pair, err := tls.LoadX509KeyPair(filepath.Join(pki, certificate+".crt"), filepath.Join(pki, certificate+".key"))
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

func tlsCase(ctx context.Context, _ *clientv3.Client, p string) error {
	try := func(ca, certificate string, limit time.Duration) error {
		config, err := tlsConfig(ca, certificate)
		if err != nil {
			return err
		}
		c, err := connect(func(o *clientv3.Config) { o.Endpoints, o.TLS = []string{os.Getenv("CLIENT_TLS_ENDPOINT")}, config })
		if err != nil {
			return err
		}
		defer c.Close()
		once, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		w := c.Watch(once, p+"a")
		if err := put(once, c, p+"a", "1"); err != nil {
			return err
		}
		_, err = take(w, 1)
		return err
	}
	if err := try("ca", "alice", caseTime); err != nil {
		return err
	}
	for _, bad := range [][2]string{{"ca", ""}, {"ca", "stranger"}, {"other", "alice"}} {
		if err := try(bad[0], bad[1], 3*time.Second); err == nil {
			return fmt.Errorf("authority %s, certificate %q: was let in", bad[0], bad[1])
		}
	}
	return nil
}
