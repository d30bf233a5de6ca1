// goclient drives a server through etcd's own Go client and checks what it answers.
//
//	goclient ENDPOINT[,ENDPOINT...]
//	goclient -require-leader ENDPOINT    a watch that asks for a leader: says "watching", then how it ends
//
// One line a case, then "N passed, N failed". Run it against etcd too: it must pass there as well.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.uber.org/zap"
)

// A case gets a key prefix of its own and a deadline.
type testCase struct {
	name string
	run  func(ctx context.Context, c *clientv3.Client, prefix string) error
}

var cases = []testCase{
	{"put, get, previous value", putAndGet},
	{"range options", rangeOptions},
	{"delete a range, previous values", deleteRange},
	{"txn: both branches, several operations", txn},
	{"txn: nested, compares of every kind", nestedTxn},
	{"old revisions, compaction, errors", compaction},
	{"watch: events in order, filter, previous value", watch},
	{"watch: resumed from a revision, nothing twice, nothing lost", watchResume},
	{"watch: compacted revision", watchCompacted},
	{"watch: progress on demand", watchProgress},
	{"lease: kept alive, then expired", leaseExpiry},
	{"lease: revoke, list, time to live, errors", leaseRevoke},
	{"concurrency package: mutex", mutex},
	{"concurrency package: election", election},
	{"1000 puts in flight", manyPuts},
	{"errors keep etcd's codes", errorCodes},
}

func main() {
	alone := len(os.Args) == 3 && os.Args[1] == "-require-leader"
	if len(os.Args) != 2 && !alone {
		fmt.Fprintln(os.Stderr, "usage: goclient [-require-leader] ENDPOINT[,ENDPOINT...]")
		os.Exit(2)
	}
	client, err := clientv3.New(clientv3.Config{Endpoints: strings.Split(os.Args[len(os.Args)-1], ","), DialTimeout: 5 * time.Second,
		Logger: zap.NewNop()}) // the cases provoke errors; the client would log each
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	defer client.Close()
	if alone {
		requireLeader(client)
		return
	}
	passed, failed := 0, 0
	for i, t := range cases {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		err := t.run(ctx, client, fmt.Sprintf("goclient/%d/", i))
		cancel()
		if err != nil {
			failed++
			fmt.Printf("FAIL  %s: %v\n", t.name, err)
			continue
		}
		passed++
		fmt.Printf("ok    %s\n", t.name)
	}
	fmt.Printf("%d passed, %d failed\n", passed, failed)
	if failed > 0 {
		os.Exit(1)
	}
}

// requireLeader prints what a client that asks for a leader is told when there is none any more.
func requireLeader(c *clientv3.Client) {
	ctx, cancel := context.WithTimeout(clientv3.WithRequireLeader(context.Background()), time.Minute)
	defer cancel()
	for r := range c.Watch(ctx, "require-leader", clientv3.WithCreatedNotify()) {
		if r.Created {
			fmt.Println("watching")
		} else {
			fmt.Println("watch:", r.Err())
		}
	}
	_, err := c.Put(ctx, "require-leader", "v")
	fmt.Println("put:", err)
}

// expect is nil if got equals want.
func expect[T comparable](what string, got, want T) error {
	if got != want {
		return fmt.Errorf("%s: got %v, want %v", what, got, want)
	}
	return nil
}

func keysOf(r *clientv3.GetResponse) string {
	var keys []string
	for _, kv := range r.Kvs {
		keys = append(keys, string(kv.Key[strings.LastIndexByte(string(kv.Key), '/')+1:]))
	}
	return strings.Join(keys, " ")
}

func putAll(ctx context.Context, c *clientv3.Client, prefix string, pairs ...string) (int64, error) {
	var revision int64
	for i := 0; i < len(pairs); i += 2 {
		r, err := c.Put(ctx, prefix+pairs[i], pairs[i+1])
		if err != nil {
			return 0, err
		}
		revision = r.Header.Revision
	}
	return revision, nil
}

func putAndGet(ctx context.Context, c *clientv3.Client, p string) error {
	first, err := c.Put(ctx, p+"a", "1")
	if err != nil {
		return err
	}
	second, err := c.Put(ctx, p+"a", "2", clientv3.WithPrevKV())
	if err != nil {
		return err
	}
	got, err := c.Get(ctx, p+"a")
	if err != nil {
		return err
	}
	if len(got.Kvs) != 1 || second.PrevKv == nil {
		return fmt.Errorf("got %v and previous %v", got.Kvs, second.PrevKv)
	}
	kv := got.Kvs[0]
	return errors.Join(
		expect("previous value", string(second.PrevKv.Value), "1"),
		expect("value", string(kv.Value), "2"),
		expect("version", kv.Version, 2),
		expect("create revision", kv.CreateRevision, first.Header.Revision),
		expect("mod revision", kv.ModRevision, second.Header.Revision),
		expect("revision grows by one", second.Header.Revision, first.Header.Revision+1))
}

func rangeOptions(ctx context.Context, c *clientv3.Client, p string) error {
	if _, err := putAll(ctx, c, p, "a", "3", "b", "1", "c", "2", "a", "4"); err != nil {
		return err
	}
	var problems []error
	check := func(what, want string, more bool, count int64, options ...clientv3.OpOption) {
		r, err := c.Get(ctx, p, append(options, clientv3.WithPrefix())...)
		if err != nil {
			problems = append(problems, err)
			return
		}
		problems = append(problems, expect(what, keysOf(r), want), expect(what+": more", r.More, more),
			expect(what+": count", r.Count, count))
	}
	check("prefix", "a b c", false, 3)
	check("limit", "a b", true, 3, clientv3.WithLimit(2))
	check("count only", "", false, 3, clientv3.WithCountOnly())
	check("descending keys", "c b a", false, 3, clientv3.WithSort(clientv3.SortByKey, clientv3.SortDescend))
	check("by value", "b c a", false, 3, clientv3.WithSort(clientv3.SortByValue, clientv3.SortAscend))
	check("by mod revision", "b c a", false, 3, clientv3.WithSort(clientv3.SortByModRevision, clientv3.SortAscend))
	check("by version, limited", "a", true, 3, clientv3.WithSort(clientv3.SortByVersion, clientv3.SortDescend), clientv3.WithLimit(1))
	check("serializable", "a b c", false, 3, clientv3.WithSerializable())
	r, err := c.Get(ctx, p+"b", clientv3.WithFromKey(), clientv3.WithKeysOnly(), clientv3.WithLimit(1))
	if err != nil {
		return err
	}
	problems = append(problems, expect("from key", keysOf(r), "b"), expect("keys only", len(r.Kvs[0].Value), 0))
	return errors.Join(problems...)
}

func deleteRange(ctx context.Context, c *clientv3.Client, p string) error {
	if _, err := putAll(ctx, c, p, "a", "1", "b", "2", "c", "3"); err != nil {
		return err
	}
	r, err := c.Delete(ctx, p+"a", clientv3.WithRange(p+"c"), clientv3.WithPrevKV())
	if err != nil {
		return err
	}
	if len(r.PrevKvs) != 2 {
		return fmt.Errorf("previous values: %v", r.PrevKvs)
	}
	again, err := c.Delete(ctx, p+"a")
	if err != nil {
		return err
	}
	left, err := c.Get(ctx, p, clientv3.WithPrefix())
	if err != nil {
		return err
	}
	return errors.Join(expect("deleted", r.Deleted, 2), expect("second previous value", string(r.PrevKvs[1].Value), "2"),
		expect("deleted again", again.Deleted, 0), expect("no new revision", again.Header.Revision, r.Header.Revision),
		expect("left", keysOf(left), "c"))
}

func txn(ctx context.Context, c *clientv3.Client, p string) error {
	create := func() (*clientv3.TxnResponse, error) {
		return c.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(p+"a"), "=", 0)).
			Then(clientv3.OpPut(p+"a", "1"), clientv3.OpPut(p+"b", "2")).
			Else(clientv3.OpGet(p+"a"), clientv3.OpDelete(p+"b", clientv3.WithPrevKV())).Commit()
	}
	first, err := create()
	if err != nil {
		return err
	}
	second, err := create()
	if err != nil {
		return err
	}
	if !first.Succeeded || second.Succeeded || len(first.Responses) != 2 || len(second.Responses) != 2 {
		return fmt.Errorf("got %v, %v", first, second)
	}
	kv := second.Responses[0].GetResponseRange().Kvs[0]
	deleted := second.Responses[1].GetResponseDeleteRange()
	return errors.Join(expect("value", string(kv.Value), "1"), expect("one revision for all", kv.ModRevision, first.Header.Revision),
		expect("deleted", deleted.Deleted, 1), expect("previous value", string(deleted.PrevKvs[0].Value), "2"))
}

func nestedTxn(ctx context.Context, c *clientv3.Client, p string) error {
	revision, err := putAll(ctx, c, p, "a", "m")
	if err != nil {
		return err
	}
	inner := clientv3.OpTxn([]clientv3.Cmp{clientv3.Compare(clientv3.Value(p+"a"), "<", "n"), clientv3.Compare(clientv3.Version(p+"a"), "!=", 2)},
		[]clientv3.Op{clientv3.OpPut(p+"inner", "then")}, []clientv3.Op{clientv3.OpPut(p+"inner", "else")})
	r, err := c.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(p+"a"), "=", revision), clientv3.Compare(clientv3.Value(p+"a"), ">", "l"),
		clientv3.Compare(clientv3.LeaseValue(p+"a"), "=", 0), clientv3.Compare(clientv3.Version(p), "=", 1).WithPrefix()).
		Then(inner, clientv3.OpGet(p+"inner")).Commit()
	if err != nil {
		return err
	}
	if !r.Succeeded || !r.Responses[0].GetResponseTxn().Succeeded {
		return fmt.Errorf("the wrong branch: %v", r)
	}
	return expect("read in the same txn", string(r.Responses[1].GetResponseRange().Kvs[0].Value), "then")
}

func compaction(ctx context.Context, c *clientv3.Client, p string) error {
	first, err := putAll(ctx, c, p, "a", "1")
	if err != nil {
		return err
	}
	last, err := putAll(ctx, c, p, "a", "2", "a", "3")
	if err != nil {
		return err
	}
	old, err := c.Get(ctx, p+"a", clientv3.WithRev(first))
	if err != nil {
		return err
	}
	if _, err := c.Compact(ctx, last, clientv3.WithCompactPhysical()); err != nil {
		return err
	}
	_, compacted := c.Get(ctx, p+"a", clientv3.WithRev(first))
	_, again := c.Compact(ctx, first)
	_, future := c.Get(ctx, p+"a", clientv3.WithRev(last+1000))
	now, err := c.Get(ctx, p+"a", clientv3.WithRev(last))
	if err != nil {
		return err
	}
	return errors.Join(expect("old value", string(old.Kvs[0].Value), "1"), expect("value at the compacted revision", string(now.Kvs[0].Value), "3"),
		expect("read below", compacted, rpctypes.ErrCompacted), expect("compact below", again, rpctypes.ErrCompacted),
		expect("read ahead", future, rpctypes.ErrFutureRev))
}

// next waits for events until there are count of them, and gives them as "PUT a=1 DELETE b".
func next(ctx context.Context, w clientv3.WatchChan, count int) (string, int64, error) {
	var out []string
	var revision int64
	for len(out) < count {
		select {
		case r, open := <-w:
			if !open || r.Err() != nil {
				return strings.Join(out, " "), revision, fmt.Errorf("watch ended: %v", r.Err())
			}
			for _, e := range r.Events {
				key := string(e.Kv.Key[strings.LastIndexByte(string(e.Kv.Key), '/')+1:])
				if e.Type == clientv3.EventTypePut {
					key += "=" + string(e.Kv.Value)
				}
				if e.PrevKv != nil {
					key += "(" + string(e.PrevKv.Value) + ")"
				}
				out = append(out, e.Type.String()+" "+key)
				revision = e.Kv.ModRevision
			}
		case <-ctx.Done():
			return strings.Join(out, " "), revision, fmt.Errorf("after %d of %d events: %w", len(out), count, ctx.Err())
		}
	}
	return strings.Join(out, " "), revision, nil
}

func watch(ctx context.Context, c *clientv3.Client, p string) error {
	revision, err := putAll(ctx, c, p, "a", "1")
	if err != nil {
		return err
	}
	all := c.Watch(ctx, p, clientv3.WithPrefix(), clientv3.WithPrevKV(), clientv3.WithRev(revision+1))
	onlyDeletes := c.Watch(ctx, p, clientv3.WithPrefix(), clientv3.WithFilterPut(), clientv3.WithRev(revision))
	oneKey := c.Watch(ctx, p+"b", clientv3.WithRev(revision))
	if _, err := putAll(ctx, c, p, "a", "2", "b", "3"); err != nil {
		return err
	}
	if _, err := c.Delete(ctx, p+"a"); err != nil {
		return err
	}
	one, _, err1 := next(ctx, oneKey, 1)
	deletes, _, err2 := next(ctx, onlyDeletes, 1)
	every, _, err3 := next(ctx, all, 3)
	return errors.Join(err1, err2, err3, expect("one key", one, "PUT b=3"), expect("deletes", deletes, "DELETE a"),
		expect("all", every, "PUT a=2(1) PUT b=3 DELETE a(2)"))
}

func watchResume(ctx context.Context, c *clientv3.Client, p string) error {
	const count = 200
	first, err := putAll(ctx, c, p, "n", "0")
	if err != nil {
		return err
	}
	wrote := make(chan error, 1)
	go func() {
		for i := 1; i < count; i++ {
			if _, err := c.Put(ctx, p+"n", fmt.Sprint(i)); err != nil {
				wrote <- err
				return
			}
		}
		wrote <- nil
	}()
	// Again and again: a few events, the watch is cancelled, the next one begins behind what was seen.
	seen, from := 0, first
	for seen < count {
		part, cancel := context.WithCancel(ctx)
		w := c.Watch(part, p+"n", clientv3.WithRev(from))
		for i := 0; i < 17 && seen < count; {
			r, open := <-w
			if !open || r.Err() != nil {
				cancel()
				return fmt.Errorf("watch ended after %d events: %v", seen, r.Err())
			}
			for _, e := range r.Events {
				if got := string(e.Kv.Value); got != fmt.Sprint(seen) {
					cancel()
					return fmt.Errorf("event %d has value %s", seen, got)
				}
				seen++
				i++
				from = e.Kv.ModRevision + 1
			}
		}
		cancel()
	}
	return <-wrote
}

func watchCompacted(ctx context.Context, c *clientv3.Client, p string) error {
	first, err := putAll(ctx, c, p, "a", "1")
	if err != nil {
		return err
	}
	last, err := putAll(ctx, c, p, "a", "2", "a", "3")
	if err != nil {
		return err
	}
	if _, err := c.Compact(ctx, last); err != nil {
		return err
	}
	// The call may have been served by another member than the watch will be: that one may compact a moment later.
	for {
		part, cancel := context.WithCancel(ctx)
		r, open := <-c.Watch(part, p+"a", clientv3.WithRev(first))
		cancel()
		if !open {
			return fmt.Errorf("watch ended: %v", ctx.Err())
		}
		if r.Err() != nil {
			return errors.Join(expect("error", r.Err(), rpctypes.ErrCompacted), expect("compact revision", r.CompactRevision, last))
		}
	}
}

func watchProgress(ctx context.Context, c *clientv3.Client, p string) error {
	w := c.Watch(ctx, p+"quiet", clientv3.WithCreatedNotify())
	if r := <-w; !r.Created {
		return fmt.Errorf("no notice of creation but %v", r)
	}
	revision, err := putAll(ctx, c, p, "other", "1")
	if err != nil {
		return err
	}
	for {
		if err := c.RequestProgress(ctx); err != nil {
			return err
		}
		select {
		case r := <-w:
			if !r.IsProgressNotify() {
				return fmt.Errorf("no progress but %v", r)
			}
			if r.Header.Revision >= revision {
				return nil
			}
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func leaseExpiry(ctx context.Context, c *clientv3.Client, p string) error {
	lease, err := c.Grant(ctx, 2)
	if err != nil {
		return err
	}
	revision := lease.Revision
	if r, err := c.Put(ctx, p+"a", "1", clientv3.WithLease(lease.ID)); err != nil {
		return err
	} else {
		revision = r.Header.Revision
	}
	if _, err := c.Put(ctx, p+"b", "1", clientv3.WithLease(lease.ID)); err != nil {
		return err
	}
	alive, cancel := context.WithCancel(ctx)
	answers, err := c.KeepAlive(alive, lease.ID)
	if err != nil {
		cancel()
		return err
	}
	for begin := time.Now(); time.Since(begin) < 4*time.Second; {
		if r, open := <-answers; !open || r.TTL != 2 {
			cancel()
			return fmt.Errorf("keep-alive: %v", r)
		}
	}
	got, err := c.Get(ctx, p, clientv3.WithPrefix())
	cancel()
	if err != nil {
		return err
	}
	if err := expect("keys of a lease kept alive", keysOf(got), "a b"); err != nil {
		return err
	}
	events, _, err := next(ctx, c.Watch(ctx, p, clientv3.WithPrefix(), clientv3.WithRev(revision+2)), 2)
	if err != nil {
		return err
	}
	gone, err := c.Get(ctx, p, clientv3.WithPrefix())
	if err != nil {
		return err
	}
	return errors.Join(expect("events", events, "DELETE a DELETE b"), expect("left", keysOf(gone), ""))
}

func leaseRevoke(ctx context.Context, c *clientv3.Client, p string) error {
	lease, err := c.Grant(ctx, 100)
	if err != nil {
		return err
	}
	if _, err := c.Put(ctx, p+"a", "1", clientv3.WithLease(lease.ID)); err != nil {
		return err
	}
	left, err := c.TimeToLive(ctx, lease.ID, clientv3.WithAttachedKeys())
	if err != nil {
		return err
	}
	list, err := c.Leases(ctx)
	if err != nil {
		return err
	}
	listed := false
	for _, l := range list.Leases {
		listed = listed || l.ID == lease.ID
	}
	if _, err := c.Revoke(ctx, lease.ID); err != nil {
		return err
	}
	got, err := c.Get(ctx, p+"a")
	if err != nil {
		return err
	}
	_, again := c.Revoke(ctx, lease.ID)
	_, put := c.Put(ctx, p+"a", "1", clientv3.WithLease(lease.ID))
	_, once := c.KeepAliveOnce(ctx, lease.ID)
	after, err := c.TimeToLive(ctx, lease.ID)
	if err != nil {
		return err
	}
	return errors.Join(expect("granted", left.GrantedTTL, 100), expect("left", left.TTL > 90 && left.TTL <= 100, true),
		expect("keys", len(left.Keys), 1), expect("listed", listed, true), expect("key after revoke", got.Count, 0),
		expect("revoked again", again, rpctypes.ErrLeaseNotFound), expect("put", put, rpctypes.ErrLeaseNotFound),
		expect("keep-alive", once, rpctypes.ErrLeaseNotFound), expect("time to live", after.TTL, -1))
}

func mutex(ctx context.Context, c *clientv3.Client, p string) error {
	inside, entered := 0, 0
	var group sync.WaitGroup
	problems := make(chan error, 8)
	for range 4 {
		group.Go(func() {
			session, err := concurrency.NewSession(c, concurrency.WithTTL(10))
			if err != nil {
				problems <- err
				return
			}
			defer session.Close()
			lock := concurrency.NewMutex(session, p+"lock")
			if err := lock.Lock(ctx); err != nil {
				problems <- err
				return
			}
			inside++
			entered++
			if inside != 1 {
				problems <- fmt.Errorf("%d are inside", inside)
			}
			time.Sleep(20 * time.Millisecond)
			inside--
			if err := lock.Unlock(ctx); err != nil {
				problems <- err
			}
		})
	}
	group.Wait()
	close(problems)
	for err := range problems {
		return err
	}
	return expect("entered", entered, 4)
}

func election(ctx context.Context, c *clientv3.Client, p string) error {
	first, err := concurrency.NewSession(c)
	if err != nil {
		return err
	}
	defer first.Close()
	second, err := concurrency.NewSession(c)
	if err != nil {
		return err
	}
	defer second.Close()
	one, two := concurrency.NewElection(first, p+"leader"), concurrency.NewElection(second, p+"leader")
	if err := one.Campaign(ctx, "one"); err != nil {
		return err
	}
	won := make(chan error, 1)
	go func() { won <- two.Campaign(ctx, "two") }()
	leader, err := two.Leader(ctx)
	if err != nil {
		return err
	}
	if err := one.Resign(ctx); err != nil {
		return err
	}
	if err := <-won; err != nil {
		return err
	}
	now, err := one.Leader(ctx)
	if err != nil {
		return err
	}
	return errors.Join(expect("first leader", string(leader.Kvs[0].Value), "one"), expect("second leader", string(now.Kvs[0].Value), "two"))
}

func manyPuts(ctx context.Context, c *clientv3.Client, p string) error {
	var group sync.WaitGroup
	problems := make(chan error, 1000)
	for i := range 1000 {
		group.Go(func() {
			if _, err := c.Put(ctx, fmt.Sprintf("%s%04d", p, i), strings.Repeat("x", 100)); err != nil {
				problems <- err
			}
		})
	}
	group.Wait()
	close(problems)
	for err := range problems {
		return err
	}
	r, err := c.Get(ctx, p, clientv3.WithPrefix())
	if err != nil {
		return err
	}
	return errors.Join(expect("count", r.Count, 1000), expect("keys", len(r.Kvs), 1000))
}

func errorCodes(ctx context.Context, c *clientv3.Client, p string) error {
	_, empty := c.Put(ctx, "", "1")
	_, twice := c.Txn(ctx).Then(clientv3.OpPut(p+"a", "1"), clientv3.OpPut(p+"a", "2")).Commit()
	many := make([]clientv3.Op, 129)
	for i := range many {
		many[i] = clientv3.OpPut(fmt.Sprintf("%s%d", p, i), "1")
	}
	_, tooMany := c.Txn(ctx).Then(many...).Commit()
	_, large := c.Put(ctx, p+"a", strings.Repeat("x", 1600*1024))
	_, missing := c.Put(ctx, p+"none", "", clientv3.WithIgnoreValue())
	_, lease := c.Grant(ctx, 1<<40)
	return errors.Join(expect("empty key", empty, rpctypes.ErrEmptyKey), expect("duplicate key", twice, rpctypes.ErrDuplicateKey),
		expect("too many operations", tooMany, rpctypes.ErrTooManyOps), expect("large request", large, rpctypes.ErrRequestTooLarge),
		expect("ignore value of a missing key", missing, rpctypes.ErrKeyNotFound), expect("lease for too long", lease, rpctypes.ErrLeaseTTLTooLarge))
}
