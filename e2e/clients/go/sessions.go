package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

func twoSessions(c *clientv3.Client) (one, two *concurrency.Session, err error) {
	if one, err = concurrency.NewSession(c, concurrency.WithTTL(20)); err != nil {
		return
	}
	two, err = concurrency.NewSession(c, concurrency.WithTTL(20))
	return
}

func lock(ctx context.Context, c *clientv3.Client, p string) error {
	one, two, err := twoSessions(c)
	if err != nil {
		return err
	}
	defer one.Close()
	defer two.Close()
	first, second := concurrency.NewMutex(one, p), concurrency.NewMutex(two, p)
	if err := first.Lock(ctx); err != nil {
		return err
	}
	try := second.TryLock(ctx)
	got := make(chan error, 1)
	go func() { got <- second.Lock(ctx) }()
	select {
	case err := <-got:
		return fmt.Errorf("the second has the lock too (%v)", err)
	case <-time.After(wrongTime):
	}
	owner, err := c.Txn(ctx).If(first.IsOwner()).Commit()
	if err != nil {
		return err
	}
	if err := first.Unlock(ctx); err != nil {
		return err
	}
	if err := <-got; err != nil {
		return err
	}
	return errors.Join(expect("TryLock", try, concurrency.ErrLocked), expect("owner", owner.Succeeded, true), second.Unlock(ctx))
}

// The holder vanishes: its lease ends, and the next one has the lock.
func lockLost(ctx context.Context, c *clientv3.Client, p string) error {
	short, err := concurrency.NewSession(c, concurrency.WithTTL(2))
	if err != nil {
		return err
	}
	other, err := concurrency.NewSession(c)
	if err != nil {
		return err
	}
	defer other.Close()
	if err := concurrency.NewMutex(short, p).Lock(ctx); err != nil {
		return err
	}
	short.Orphan()
	second := concurrency.NewMutex(other, p)
	if err := second.Lock(ctx); err != nil {
		return err
	}
	return second.Unlock(ctx)
}

func election(ctx context.Context, c *clientv3.Client, p string) error {
	one, two, err := twoSessions(c)
	if err != nil {
		return err
	}
	defer one.Close()
	defer two.Close()
	first, second := concurrency.NewElection(one, p), concurrency.NewElection(two, p)
	if _, err := first.Leader(ctx); err != concurrency.ErrElectionNoLeader {
		return fmt.Errorf("a leader before any campaign: %v", err)
	}
	if err := first.Campaign(ctx, "one"); err != nil {
		return err
	}
	observed := second.Observe(ctx)
	next := func(want string) error {
		r, open := <-observed
		if !open {
			return fmt.Errorf("no more to observe before %s", want)
		}
		return expect("observed", string(r.Kvs[0].Value), want)
	}
	won := make(chan error, 1)
	if err := next("one"); err != nil {
		return err
	}
	if err := first.Proclaim(ctx, "one again"); err != nil {
		return err
	}
	if err := next("one again"); err != nil {
		return err
	}
	go func() { won <- second.Campaign(ctx, "two") }()
	select {
	case err := <-won:
		return fmt.Errorf("two leaders (%v)", err)
	case <-time.After(wrongTime):
	}
	if err := first.Resign(ctx); err != nil {
		return err
	}
	if err := <-won; err != nil {
		return err
	}
	return errors.Join(next("two"), second.Resign(ctx))
}

// Forty transfers between two accounts, eight at a time. Its second read is at the revision of the first, serializably:
// of a member that is behind it would hear of a future revision, so it talks to one.
func stm(ctx context.Context, c *clientv3.Client, p string) error {
	c.SetEndpoints(c.Endpoints()[0])
	if err := put(ctx, c, p+"a", "100", p+"b", "100"); err != nil {
		return err
	}
	var group sync.WaitGroup
	problems := make(chan error, 8)
	for range 8 {
		group.Go(func() {
			for range 5 {
				_, err := concurrency.NewSTM(c, func(s concurrency.STM) error {
					var a, b int
					fmt.Sscan(s.Get(p+"a"), &a)
					fmt.Sscan(s.Get(p+"b"), &b)
					s.Put(p+"a", fmt.Sprint(a-1))
					s.Put(p+"b", fmt.Sprint(b+1))
					return nil
				}, concurrency.WithAbortContext(ctx))
				if err != nil {
					problems <- err
					return
				}
			}
		})
	}
	group.Wait()
	close(problems)
	a, errA := valueOf(ctx, c, p+"a")
	b, errB := valueOf(ctx, c, p+"b")
	return errors.Join(<-problems, errA, errB, expect("a", a, "60"), expect("b", b, "140"))
}
