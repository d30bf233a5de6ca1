package main

import (
	"context"
	"errors"
	"fmt"
	"net"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/leasing"
	"go.etcd.io/etcd/client/v3/namespace"
	"go.etcd.io/etcd/client/v3/naming/endpoints"
	"go.etcd.io/etcd/client/v3/naming/resolver"
	"go.etcd.io/etcd/client/v3/ordering"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// A client whose keys all lie below a prefix; one without it sees them under their whole names.
func namespaces(ctx context.Context, c *clientv3.Client, p string) error {
	inner, err := connect()
	if err != nil {
		return err
	}
	defer inner.Close()
	inner.KV = namespace.NewKV(inner.KV, p)
	inner.Watcher = namespace.NewWatcher(inner.Watcher, p)
	inner.Lease = namespace.NewLease(inner.Lease, p)
	granted, err := inner.Grant(ctx, 1000)
	if err != nil {
		return err
	}
	at, err := inner.Put(ctx, "a", "1", clientv3.WithLease(granted.ID))
	if err != nil {
		return err
	}
	changed, err := inner.Txn(ctx).If(clientv3.Compare(clientv3.Value("a"), "=", "1")).Then(clientv3.OpPut("b", "2"), clientv3.OpGet("a")).Commit()
	if err != nil {
		return err
	}
	events, err := take(inner.Watch(ctx, "", clientv3.WithPrefix(), clientv3.WithRev(at.Header.Revision)), 2)
	if err != nil {
		return err
	}
	left, err := inner.TimeToLive(ctx, granted.ID, clientv3.WithAttachedKeys())
	if err != nil {
		return err
	}
	all, err := inner.Get(ctx, "\x00", clientv3.WithFromKey())
	if err != nil {
		return err
	}
	outside, err := valueOf(ctx, c, p+"b")
	if err != nil {
		return err
	}
	return errors.Join(expect("txn", changed.Succeeded, true), expect("key in the txn", string(changed.Responses[1].GetResponseRange().Kvs[0].Key), "a"),
		expect("watched key", string(events[1].Kv.Key), "b"), expect("key of the lease", string(left.Keys[0]), "a"),
		expect("all keys inside", all.Count, 2), expect("seen from outside", outside, "2"))
}

func naming(ctx context.Context, c *clientv3.Client, p string) error {
	manager, err := endpoints.NewManager(c, p+"service")
	if err != nil {
		return err
	}
	watching, cancel := context.WithCancel(ctx)
	defer cancel()
	updates, err := manager.NewWatchChannel(watching)
	if err != nil {
		return err
	}
	granted, err := c.Grant(ctx, 1000)
	if err != nil {
		return err
	}
	name := p + "service/one"
	if err := manager.AddEndpoint(ctx, name, endpoints.Endpoint{Addr: "10.0.0.1:80", Metadata: "blue"}, clientv3.WithLease(granted.ID)); err != nil {
		return err
	}
	added := <-updates
	var list endpoints.Key2EndpointMap
	for len(list) == 0 { // List reads serializably: from a member that may be a moment behind
		if list, err = manager.List(ctx); err != nil {
			return err
		}
	}
	if _, err := c.Revoke(ctx, granted.ID); err != nil { // the service died
		return err
	}
	removed := <-updates
	if len(added) != 1 || len(removed) != 1 {
		return fmt.Errorf("updates %v, %v", added, removed)
	}
	return errors.Join(expect("added", added[0].Endpoint.Addr, "10.0.0.1:80"), expect("listed", fmt.Sprint(list[name].Metadata), "blue"),
		expect("removed", removed[0].Op, endpoints.Delete), expect("its key", removed[0].Key, name))
}

// A gRPC client finds a server by its name in the store, and the next one when the first is gone.
func namingResolver(ctx context.Context, c *clientv3.Client, p string) error {
	manager, err := endpoints.NewManager(c, p+"health")
	if err != nil {
		return err
	}
	builder, err := resolver.NewBuilder(c)
	if err != nil {
		return err
	}
	start := func() (string, *grpc.Server, error) {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", nil, err
		}
		server := grpc.NewServer()
		grpc_health_v1.RegisterHealthServer(server, health.NewServer())
		go server.Serve(listener)
		return listener.Addr().String(), server, nil
	}
	connection, err := grpc.NewClient("etcd:///"+p+"health", grpc.WithResolvers(builder), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"round_robin":{}}]}`))
	if err != nil {
		return err
	}
	defer connection.Close()
	for i := range 2 {
		address, server, err := start()
		if err != nil {
			return err
		}
		name := fmt.Sprintf("%shealth/%d", p, i)
		if err := manager.AddEndpoint(ctx, name, endpoints.Endpoint{Addr: address}); err != nil {
			return err
		}
		r, err := grpc_health_v1.NewHealthClient(connection).Check(ctx, &grpc_health_v1.HealthCheckRequest{}, grpc.WaitForReady(true))
		if err != nil || r.Status != grpc_health_v1.HealthCheckResponse_SERVING {
			return fmt.Errorf("server %d: %v, %v", i, r, err)
		}
		if err := manager.DeleteEndpoint(ctx, name); err != nil {
			return err
		}
		server.Stop()
	}
	return nil
}

func leasingOrdering(ctx context.Context, c *clientv3.Client, p string) error {
	one, closeOne, err := leasing.NewKV(c, p+"leasing/")
	if err != nil {
		return err
	}
	defer closeOne()
	two, closeTwo, err := leasing.NewKV(c, p+"leasing/")
	if err != nil {
		return err
	}
	defer closeTwo()
	if err := put(ctx, one, p+"a", "1"); err != nil {
		return err
	}
	kept, errKept := valueOf(ctx, one, p+"a")
	if err := put(ctx, two, p+"a", "2"); err != nil { // takes the key from the other's cache
		return err
	}
	now, errNow := valueOf(ctx, one, p+"a")
	ordered := ordering.NewKV(c.KV, ordering.NewOrderViolationSwitchEndpointClosure(c))
	last := ""
	for i := range 50 { // serializable reads from whatever member: what was seen is never unseen
		if err := put(ctx, c, p+"b", fmt.Sprintf("%02d", i)); err != nil {
			return err
		}
		r, err := ordered.Get(ctx, p+"b", clientv3.WithSerializable())
		if errors.Is(err, ordering.ErrNoGreaterRev) {
			continue // it asked every member, and said so
		}
		if err != nil {
			return err
		}
		if len(r.Kvs) == 0 && last != "" || len(r.Kvs) == 1 && string(r.Kvs[0].Value) < last {
			return fmt.Errorf("read %v behind %s", r.Kvs, last)
		}
		if len(r.Kvs) == 1 {
			last = string(r.Kvs[0].Value)
		}
	}
	return errors.Join(errKept, errNow, errIf(last == "", "no ordered read answered"), expect("kept", kept, "1"), expect("now", now, "2"))
}
