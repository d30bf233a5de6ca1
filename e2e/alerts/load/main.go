// load writes, watches and keeps a lease alive until it is told to stop. Errors are expected: conditions that alert
// rules look for are made around it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

func main() {
	endpoints := flag.String("endpoints", "", "comma-separated client URLs")
	rate := flag.Int("rate", 50, "puts a second")
	size := flag.Int("size", 100, "bytes of a value")
	keys := flag.Int("keys", 1000, "different keys")
	timeout := flag.Duration("timeout", 10*time.Second, "of one put")
	puts := flag.Int("puts", 0, "end after so many puts, one after the other; 0: go on")
	compact := flag.Bool("compact", false, "only compact at the newest revision")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	client, err := clientv3.New(clientv3.Config{Endpoints: strings.Split(*endpoints, ","), DialTimeout: 10 * time.Second})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	defer client.Close()
	value := strings.Repeat("x", *size)
	if *compact || *puts > 0 {
		if err := finite(ctx, client, *puts, *keys, value, *compact); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	go func() {
		for range client.Watch(ctx, "load/", clientv3.WithPrefix()) {
		}
	}()
	go keepLease(ctx, client)
	var good, bad atomic.Int64
	ticker := time.NewTicker(time.Second / time.Duration(*rate))
	defer ticker.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			fmt.Printf("good %d bad %d\n", good.Load(), bad.Load())
			return
		case <-ticker.C:
		}
		go func(n int) {
			one, cancel := context.WithTimeout(ctx, *timeout)
			defer cancel()
			if _, err := client.Put(one, fmt.Sprintf("load/%d", n%*keys), value); err != nil {
				bad.Add(1)
			} else {
				good.Add(1)
			}
		}(n)
	}
}

// finite makes so many puts, then compacts if it shall. One in puts/keys goes to a key of its own and stays, the others
// to one key: so what dies lies between what lives, in every file, and no file can just be dropped.
func finite(ctx context.Context, client *clientv3.Client, puts, keys int, value string, compact bool) error {
	each := max(1, puts/keys)
	for n := range puts {
		key := "load/busy"
		if n%each == 0 {
			key = fmt.Sprintf("load/%d", n/each)
		}
		if _, err := client.Put(ctx, key, value); err != nil {
			return err
		}
	}
	if !compact {
		return nil
	}
	newest, err := client.Get(ctx, "load/0")
	if err == nil {
		_, err = client.Compact(ctx, newest.Header.Revision)
	}
	return err
}

func keepLease(ctx context.Context, client *clientv3.Client) {
	for ctx.Err() == nil {
		lease, err := client.Grant(ctx, 60)
		if err != nil {
			time.Sleep(time.Second)
			continue
		}
		answers, err := client.KeepAlive(ctx, lease.ID)
		for err == nil {
			if _, open := <-answers; !open {
				break
			}
		}
	}
}
