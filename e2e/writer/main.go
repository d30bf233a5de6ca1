// writer puts load on a cluster and keeps a record of every acknowledged write; later it checks the record.
//
//	writer run   --endpoints URL[,URL...] --log FILE [--workers N]   until SIGTERM or SIGINT
//	writer check --endpoints URL[,URL...] --log FILE
//
// Each write is a new key, so that an unknown outcome needs no judgement: only what was acknowledged counts.
// FILE has one line a write: milliseconds since the epoch, revision, key. The value follows from the key.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
)

const (
	// A put without an answer for so long has an unknown outcome; the worker goes on with its next key.
	putTimeout = time.Second
	// So that the record stays small whatever the speed: a pause is seen with this resolution.
	putInterval = 5 * time.Millisecond
	pageKeys    = 1000
)

func main() {
	if len(os.Args) < 2 {
		fail(fmt.Errorf("usage: writer run|check --endpoints URLS --log FILE"))
	}
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	endpoints := flags.String("endpoints", "", "client URLs of the cluster, comma-separated")
	log := flags.String("log", "", "record of acknowledged writes")
	workers := flags.Int("workers", 4, "writes in flight")
	flags.Parse(os.Args[2:])
	if *endpoints == "" || *log == "" {
		fail(fmt.Errorf("--endpoints and --log are needed"))
	}
	var err error
	switch os.Args[1] {
	case "run":
		err = run(*endpoints, *log, *workers)
	case "check":
		err = check(connect(*endpoints), *log)
	default:
		err = fmt.Errorf("%q is neither run nor check", os.Args[1])
	}
	if err != nil {
		fail(err)
	}
}

// connect makes a client with a connection of its own.
func connect(endpoints string) *clientv3.Client {
	client, err := clientv3.New(clientv3.Config{
		Endpoints: strings.Split(endpoints, ","), DialTimeout: 5 * time.Second, Logger: zap.NewNop(),
		// gRPC's own back-off, up to two minutes, would be measured in place of the cluster.
		DialOptions: []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.5, MaxDelay: 200 * time.Millisecond},
			MinConnectTimeout: time.Second})},
	})
	if err != nil {
		fail(err)
	}
	return client
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "writer:", err)
	os.Exit(1)
}

func valueOf(key string) string { return "value of " + key }

// record is what the workers share: the file, and what the summary needs.
type record struct {
	mutex        sync.Mutex
	out          *bufio.Writer
	acknowledged int
	unknown      int
	last         time.Time
	longestPause time.Duration
	reasons      map[string]int
}

func (r *record) ack(revision int64, key string) error {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	now := time.Now()
	if !r.last.IsZero() {
		r.longestPause = max(r.longestPause, now.Sub(r.last))
	}
	r.last = now
	r.acknowledged++
	fmt.Fprintf(r.out, "%d %d %s\n", now.UnixMilli(), revision, key)
	return r.out.Flush()
}

func (r *record) fail(err error) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.unknown++
	r.reasons[err.Error()]++
}

func run(endpoints, log string, workers int) error {
	file, err := os.Create(log)
	if err != nil {
		return err
	}
	defer file.Close()
	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	r := &record{out: bufio.NewWriter(file), reasons: map[string]int{}}
	run := time.Now().UnixNano()
	var group sync.WaitGroup
	for worker := range workers {
		client := connect(endpoints) // so that a service spreads the workers over the members
		group.Go(func() {
			defer client.Close()
			for n := 0; stop.Err() == nil; n++ {
				key := fmt.Sprintf("writer/%d/%d/%08d", run, worker, n)
				ctx, done := context.WithTimeout(context.Background(), putTimeout)
				answer, err := client.Put(ctx, key, valueOf(key))
				done()
				if err != nil {
					r.fail(err)
				} else if err := r.ack(answer.Header.Revision, key); err != nil {
					fail(err)
				}
				select {
				case <-time.After(putInterval):
				case <-stop.Done():
				}
			}
		})
	}
	group.Wait()
	if !r.last.IsZero() { // a pause that had not ended when the load did
		r.longestPause = max(r.longestPause, time.Since(r.last))
	}
	for reason, count := range r.reasons {
		fmt.Fprintf(os.Stderr, "%d times: %s\n", count, reason)
	}
	fmt.Printf("acknowledged %d\nunknown %d\nlongest_pause_ms %d\n", r.acknowledged, r.unknown, r.longestPause.Milliseconds())
	return nil
}

// check reads all keys of the run, in pages at one revision, and looks up each acknowledged write.
func check(client *clientv3.Client, log string) error {
	text, err := os.ReadFile(log)
	if err != nil {
		return err
	}
	want := map[string]int64{} // key: revision
	prefix := ""
	for line := range strings.Lines(string(text)) {
		var at, revision int64
		var key string
		if _, err := fmt.Sscan(line, &at, &revision, &key); err != nil {
			return fmt.Errorf("%s: %q: %w", log, line, err)
		}
		want[key] = revision
		prefix = key[:strings.LastIndexByte(key[:strings.LastIndexByte(key, '/')], '/')+1]
	}
	if len(want) == 0 {
		return fmt.Errorf("%s has no acknowledged write: nothing to check", log)
	}
	total := len(want)
	var wrong []string
	from, at := prefix, int64(0)
	for {
		ctx, done := context.WithTimeout(context.Background(), 20*time.Second)
		r, err := client.Get(ctx, from, clientv3.WithRange(clientv3.GetPrefixRangeEnd(prefix)),
			clientv3.WithLimit(pageKeys), clientv3.WithRev(at))
		done()
		if err != nil {
			return err
		}
		at = r.Header.Revision
		for _, kv := range r.Kvs {
			key := string(kv.Key)
			if revision, ok := want[key]; ok {
				if string(kv.Value) != valueOf(key) || kv.ModRevision != revision {
					wrong = append(wrong, fmt.Sprintf("%s: value %q at revision %d, acknowledged at %d", key, kv.Value, kv.ModRevision, revision))
				}
				delete(want, key)
			}
		}
		if !r.More {
			break
		}
		from = string(r.Kvs[len(r.Kvs)-1].Key) + "\x00"
	}
	for key, revision := range want {
		wrong = append(wrong, fmt.Sprintf("%s: acknowledged at revision %d, and lost", key, revision))
	}
	slices.Sort(wrong)
	for _, line := range wrong[:min(len(wrong), 20)] {
		fmt.Fprintln(os.Stderr, line)
	}
	if len(wrong) > 0 {
		return fmt.Errorf("%d of %d acknowledged writes are not there as they were acknowledged", len(wrong), total)
	}
	fmt.Printf("checked %d\nlost 0\n", total)
	return nil
}
