package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func kv(ctx context.Context, c *clientv3.Client, p string) error {
	first, err := c.Put(ctx, p+"a", "1")
	if err != nil {
		return err
	}
	second, err := c.Put(ctx, p+"a", "2", clientv3.WithPrevKV())
	if err != nil {
		return err
	}
	if err := put(ctx, c, p+"b", "3", p+"c", "4"); err != nil {
		return err
	}
	down, err := c.Get(ctx, p, clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByKey, clientv3.SortDescend), clientv3.WithLimit(2))
	if err != nil {
		return err
	}
	old, err := c.Get(ctx, p+"a", clientv3.WithRev(first.Header.Revision))
	if err != nil {
		return err
	}
	deleted, err := c.Delete(ctx, p, clientv3.WithPrefix(), clientv3.WithPrevKV())
	if err != nil {
		return err
	}
	_, empty := c.Put(ctx, "", "1")
	if len(down.Kvs) != 2 || len(old.Kvs) != 1 || second.PrevKv == nil {
		return fmt.Errorf("got %v, %v, %v", down, old, second)
	}
	return errors.Join(expect("previous value", string(second.PrevKv.Value), "1"), expect("last key", string(down.Kvs[0].Key), p+"c"),
		expect("there are more", down.More, true), expect("count", down.Count, 3), expect("old value", string(old.Kvs[0].Value), "1"),
		expect("deleted", deleted.Deleted, 3), expect("deleted values", len(deleted.PrevKvs), 3), expect("empty key", empty, rpctypes.ErrEmptyKey))
}

func txn(ctx context.Context, c *clientv3.Client, p string) error {
	create := func() (*clientv3.TxnResponse, error) {
		return c.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(p+"a"), "=", 0)).
			Then(clientv3.OpPut(p+"a", "1"), clientv3.OpPut(p+"b", "2")).
			Else(clientv3.OpGet(p+"a"), clientv3.OpTxn([]clientv3.Cmp{clientv3.Compare(clientv3.Value(p+"b"), "=", "2")},
				[]clientv3.Op{clientv3.OpDelete(p + "b")}, nil)).Commit()
	}
	first, err := create()
	if err != nil {
		return err
	}
	second, err := create()
	if err != nil {
		return err
	}
	if !first.Succeeded || second.Succeeded || len(second.Responses) != 2 {
		return fmt.Errorf("got %v, %v", first, second)
	}
	inner := second.Responses[1].GetResponseTxn()
	_, twice := c.Txn(ctx).Then(clientv3.OpPut(p+"a", "1"), clientv3.OpPut(p+"a", "2")).Commit()
	return errors.Join(expect("value", string(second.Responses[0].GetResponseRange().Kvs[0].Value), "1"),
		expect("inner branch", inner.Succeeded, true), expect("inner deletion", inner.Responses[0].GetResponseDeleteRange().Deleted, 1),
		expect("the same key twice", twice, rpctypes.ErrDuplicateKey))
}

func watch(ctx context.Context, c *clientv3.Client, p string) error {
	at, err := c.Put(ctx, p+"a", "1")
	if err != nil {
		return err
	}
	all := c.Watch(ctx, p, clientv3.WithPrefix(), clientv3.WithPrevKV(), clientv3.WithRev(at.Header.Revision))
	deletes := c.Watch(ctx, p, clientv3.WithPrefix(), clientv3.WithFilterPut(), clientv3.WithRev(at.Header.Revision))
	if err := put(ctx, c, p+"a", "2", p+"b", "3"); err != nil {
		return err
	}
	if _, err := c.Delete(ctx, p+"a"); err != nil {
		return err
	}
	events, err := take(all, 4)
	if err != nil {
		return err
	}
	deleted, err := take(deletes, 1)
	if err != nil {
		return err
	}
	if events[1].PrevKv == nil || events[3].PrevKv == nil {
		return errors.New("a previous value is missing")
	}
	return errors.Join(expect("previous value", string(events[1].PrevKv.Value), "1"), expect("last event", events[3].Type, clientv3.EventTypeDelete),
		expect("deleted value", string(events[3].PrevKv.Value), "2"), expect("filtered", string(deleted[0].Kv.Key), p+"a"))
}

func take(w clientv3.WatchChan, count int) (events []*clientv3.Event, err error) {
	for len(events) < count {
		r, open := <-w
		if !open || r.Err() != nil {
			return events, fmt.Errorf("the watch ended after %d of %d events: %v", len(events), count, r.Err())
		}
		events = append(events, r.Events...)
	}
	return events, nil
}

// The member that has the watch is killed and comes back; the watch goes on, on whatever member. What it tells must be
// the history, event by event: as a fresh watch tells it afterwards.
func watchResume(ctx context.Context, c *clientv3.Client, p string) error {
	const count = 300
	if err := control("/mark"); err != nil {
		return err
	}
	begin, err := c.Put(ctx, p+"begin", "")
	if err != nil {
		return err
	}
	w := c.Watch(ctx, p, clientv3.WithPrefix(), clientv3.WithRev(begin.Header.Revision+1), clientv3.WithPrevKV())
	writer, err := connect() // a client of its own, on another connection
	if err != nil {
		return err
	}
	defer writer.Close()
	wrote := make(chan error, 1)
	go func() { wrote <- writeNumbers(ctx, writer, p, count) }()
	var seen []*clientv3.Event
	steps := map[int]string{50: "/kill-watched", 150: "/restart"}
	for next := 50; len(seen) < count || string(seen[len(seen)-1].Kv.Value) != fmt.Sprint(count-1); {
		events, err := take(w, 1)
		if err != nil {
			return err
		}
		if seen = append(seen, events...); next > 0 && len(seen) >= next {
			if err := control(steps[next]); err != nil {
				return err
			}
			next = map[int]int{50: 150}[next]
		}
	}
	if err := <-wrote; err != nil {
		return err
	}
	history, err := take(c.Watch(ctx, p, clientv3.WithPrefix(), clientv3.WithRev(begin.Header.Revision+1), clientv3.WithPrevKV()), len(seen))
	if err != nil {
		return err
	}
	last, values := begin.Header.Revision, map[string]bool{}
	for i, e := range seen {
		values[string(e.Kv.Value)] = true
		if e.Kv.ModRevision <= last || e.Kv.String() != history[i].Kv.String() || e.PrevKv.String() != history[i].PrevKv.String() {
			return fmt.Errorf("event %d of %d is %v, in the history %v", i, len(seen), e, history[i])
		}
		last = e.Kv.ModRevision
	}
	return errors.Join(expect("events", len(seen), len(history)), expect("acknowledged puts seen", len(values), count))
}

// Each number until it is acknowledged: of a put whose member died nobody knows whether it was written.
func writeNumbers(ctx context.Context, c *clientv3.Client, p string, count int) error {
	for i := range count {
		for {
			once, cancel := context.WithTimeout(ctx, 2*time.Second)
			_, err := c.Put(once, fmt.Sprintf("%skey%d", p, i%7), fmt.Sprint(i))
			cancel()
			if err == nil {
				break
			}
			if ctx.Err() != nil {
				return err
			}
		}
		time.Sleep(2 * time.Millisecond)
	}
	return nil
}

func lease(ctx context.Context, c *clientv3.Client, p string) error {
	short, err := c.Grant(ctx, 5)
	if err != nil {
		return err
	}
	long, err := c.Grant(ctx, 1000)
	if err != nil {
		return err
	}
	var revision int64
	for _, id := range []clientv3.LeaseID{short.ID, long.ID} {
		r, err := c.Put(ctx, fmt.Sprintf("%s%d", p, id), "", clientv3.WithLease(id))
		if err != nil {
			return err
		}
		revision = r.Header.Revision
	}
	alive, cancel := context.WithCancel(ctx)
	answers, err := c.KeepAlive(alive, short.ID)
	if err != nil {
		cancel()
		return err
	}
	for begin := time.Now(); time.Since(begin) < 7*time.Second; {
		if r, open := <-answers; !open || r.TTL != 5 {
			cancel()
			return fmt.Errorf("keep-alive: %v", r)
		}
	}
	_, errAlive := valueOf(ctx, c, fmt.Sprintf("%s%d", p, short.ID))
	cancel()
	left, err := c.TimeToLive(ctx, long.ID, clientv3.WithAttachedKeys())
	if err != nil {
		return errors.Join(errAlive, err)
	}
	gone := c.Watch(ctx, fmt.Sprintf("%s%d", p, short.ID), clientv3.WithFilterPut(), clientv3.WithRev(revision))
	expired, err := take(gone, 1)
	if err != nil {
		return errors.Join(errAlive, err)
	}
	if _, err := c.Revoke(ctx, long.ID); err != nil {
		return err
	}
	rest, err := c.Get(ctx, p, clientv3.WithPrefix())
	if err != nil {
		return err
	}
	_, again := c.Revoke(ctx, long.ID)
	_, once := c.KeepAliveOnce(ctx, short.ID)
	return errors.Join(errAlive, expect("granted", left.GrantedTTL, 1000), expect("keys", len(left.Keys), 1), expect("rest", rest.Count, 0),
		expect("expired", expired[0].Type, clientv3.EventTypeDelete), expect("revoked again", again, rpctypes.ErrLeaseNotFound),
		expect("kept alive too late", once, rpctypes.ErrLeaseNotFound))
}
