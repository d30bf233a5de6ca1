package io.fairlead.clients;

import static io.fairlead.clients.Lab.bytes;
import static io.fairlead.clients.Lab.expect;
import static io.fairlead.clients.Lab.get;
import static io.fairlead.clients.Lab.put;
import static io.fairlead.clients.Lab.refused;
import static io.fairlead.clients.Lab.text;

import io.etcd.jetcd.Client;
import io.etcd.jetcd.KV;
import io.etcd.jetcd.Txn;
import io.etcd.jetcd.kv.DeleteResponse;
import io.etcd.jetcd.kv.GetResponse;
import io.etcd.jetcd.kv.TxnResponse;
import io.etcd.jetcd.lease.LeaseKeepAliveResponse;
import io.etcd.jetcd.lease.LeaseTimeToLiveResponse;
import io.etcd.jetcd.op.Cmp;
import io.etcd.jetcd.op.CmpTarget;
import io.etcd.jetcd.op.Op;
import io.etcd.jetcd.options.DeleteOption;
import io.etcd.jetcd.options.GetOption;
import io.etcd.jetcd.options.LeaseOption;
import io.etcd.jetcd.options.PutOption;
import io.etcd.jetcd.support.CloseableClient;
import io.grpc.stub.StreamObserver;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;

/** Keys, transactions, watches, leases. */
final class Basics {
  private static final int NUMBERS = 300;

  private Basics() {}

  static void kv(Client c, String p) throws Exception {
    KV kv = c.getKVClient();
    long first = put(c, p + "a", "1");
    PutOption previous = PutOption.builder().withPrevKV().build();
    expect("previous value", text(get(kv.put(bytes(p + "a"), bytes("2"), previous)).getPrevKv().getValue()), "1");
    put(c, p + "b", "3");
    put(c, p + "c", "\u0000\u00ff");
    GetOption down =
        GetOption.builder()
            .isPrefix(true)
            .withSortField(GetOption.SortTarget.KEY)
            .withSortOrder(GetOption.SortOrder.DESCEND)
            .withLimit(2)
            .build();
    GetResponse range = get(kv.get(bytes(p), down));
    expect("last key", text(range.getKvs().get(0).getKey()), p + "c");
    expect("bytes", text(range.getKvs().get(0).getValue()), "\u0000\u00ff");
    expect("keys, count, more", List.of(range.getKvs().size(), range.getCount(), range.isMore()), List.of(2, 3L, true));
    GetResponse old = get(kv.get(bytes(p + "a"), GetOption.builder().withRevision(first).build()));
    expect("old value", text(old.getKvs().get(0).getValue()), "1");
    DeleteResponse deleted = get(kv.delete(bytes(p), DeleteOption.builder().isPrefix(true).withPrevKV(true).build()));
    expect("deleted", List.of(deleted.getDeleted(), deleted.getPrevKvs().size()), List.of(3L, 3));
    refused("empty key", kv.put(bytes(""), bytes("x")), "key is not provided");
  }

  private static TxnResponse create(Client c, String p) throws Exception {
    Cmp absent = new Cmp(bytes(p + "a"), Cmp.Op.EQUAL, CmpTarget.createRevision(0));
    Cmp two = new Cmp(bytes(p + "b"), Cmp.Op.EQUAL, CmpTarget.value(bytes("2")));
    Op inner = Op.txn(new Cmp[] {two}, new Op[] {Op.delete(bytes(p + "b"), DeleteOption.DEFAULT)}, new Op[0]);
    Txn txn = c.getKVClient().txn();
    return get(
        txn.If(absent)
            .Then(Op.put(bytes(p + "a"), bytes("1"), PutOption.DEFAULT), Op.put(bytes(p + "b"), bytes("2"), PutOption.DEFAULT))
            .Else(Op.get(bytes(p + "a"), GetOption.DEFAULT), inner)
            .commit());
  }

  static void txn(Client c, String p) throws Exception {
    expect("first branch", create(c, p).isSucceeded(), true);
    TxnResponse second = create(c, p);
    expect("second branch", second.isSucceeded(), false);
    expect("read value", text(second.getGetResponses().get(0).getKvs().get(0).getValue()), "1");
    TxnResponse inner = second.getTxnResponses().get(0);
    expect("inner", List.of(inner.isSucceeded(), inner.getDeleteResponses().get(0).getDeleted()), List.of(true, 1L));
    Op same = Op.put(bytes(p + "a"), bytes("x"), PutOption.DEFAULT);
    refused("the same key twice", c.getKVClient().txn().Then(same, same).commit(), "duplicate key");
  }

  static void watch(Client c, String p) throws Exception {
    long at = put(c, p + "a", "1");
    try (Lab.Events all = new Lab.Events(c, p, at, false);
        Lab.Events deletes = new Lab.Events(c, p, at, true)) {
      put(c, p + "a", "2");
      put(c, p + "b", "3");
      get(c.getKVClient().delete(bytes(p + "a")));
      List<Lab.Seen> want =
          List.of(
              new Lab.Seen("PUT", p + "a", "1", "", at),
              new Lab.Seen("PUT", p + "a", "2", "1", at + 1),
              new Lab.Seen("PUT", p + "b", "3", "", at + 2),
              new Lab.Seen("DELETE", p + "a", "", "2", at + 3));
      expect("events", all.take(4), want);
      expect("filtered", deletes.next().revision(), at + 3);
    }
  }

  /** Each number until it is acknowledged: of a put whose member died nobody knows whether it was written. */
  private static void writeNumbers(String p) throws Exception {
    Client writer = Lab.connect(Lab.builder().retryMaxAttempts(1));
    long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(Lab.CASE_SECONDS);
    for (int i = 0; i < NUMBERS; ++i) {
      while (true) {
        try {
          writer.getKVClient().put(bytes(p + "key" + i % 7), bytes("" + i)).get(2, TimeUnit.SECONDS);
          break;
        } catch (Exception e) {
          if (System.nanoTime() > end) {
            throw e;
          }
          Thread.sleep(20);
        }
      }
      Thread.sleep(2);
    }
  }

  private static CompletableFuture<Void> inBackground(String p) {
    return CompletableFuture.runAsync(
        () -> {
          try {
            writeNumbers(p);
          } catch (Exception e) {
            throw new IllegalStateException(e);
          }
        });
  }

  /** The member that has the watch is killed and comes back; jetcd resumes the watch by itself. */
  static void watchResume(Client c, String p) throws Exception {
    Lab.control("/mark");
    long begin = put(c, p + "begin", "") + 1;
    CompletableFuture<Void> writer = inBackground(p);
    Map<Integer, String> steps = new HashMap<>(Map.of(50, "/kill-watched", 150, "/restart"));
    List<Lab.Seen> all = new ArrayList<>();
    Set<String> values = new HashSet<>();
    try (Lab.Events events = new Lab.Events(c, p, begin, false)) {
      while (!values.contains("" + (NUMBERS - 1))) {
        all.add(events.next());
        values.add(all.get(all.size() - 1).value());
        String step = steps.remove(all.size());
        if (step != null) {
          Lab.control(step);
        }
      }
      expect("the stream broke when its member was killed", events.broken > 0, true);
    }
    get(writer);
    List<Lab.Seen> history = Lab.take(Lab.connect(), p, begin, all.size());
    for (int i = 0; i < all.size(); ++i) {
      expect("event " + i, all.get(i), history.get(i));
      expect("revisions grow", i == 0 || all.get(i - 1).revision() < all.get(i).revision(), true);
    }
    expect("acknowledged puts seen", values.size(), NUMBERS);
  }

  static void lease(Client c, String p) throws Exception {
    long brief = get(c.getLeaseClient().grant(5)).getID();
    long lasting = get(c.getLeaseClient().grant(1000)).getID();
    PutOption withBrief = PutOption.builder().withLeaseId(brief).build();
    long at = get(c.getKVClient().put(bytes(p + "brief"), bytes(""), withBrief)).getHeader().getRevision();
    get(c.getKVClient().put(bytes(p + "lasting"), bytes(""), PutOption.builder().withLeaseId(lasting).build()));
    AtomicInteger answers = new AtomicInteger();
    AtomicReference<Throwable> problem = new AtomicReference<>();
    StreamObserver<LeaseKeepAliveResponse> observer =
        new StreamObserver<>() {
          @Override
          public void onNext(LeaseKeepAliveResponse r) {
            answers.incrementAndGet();
          }

          @Override
          public void onError(Throwable t) {
            problem.set(t);
          }

          @Override
          public void onCompleted() {}
        };
    try (CloseableClient keeper = c.getLeaseClient().keepAlive(brief, observer)) {
      Thread.sleep(7000);
      expect("key of a lease kept alive", Lab.valueOf(c, p + "brief"), "");
    }
    expect("answers", List.of(answers.get() >= 2, problem.get() == null), List.of(true, true));
    LeaseTimeToLiveResponse left = get(c.getLeaseClient().timeToLive(lasting, LeaseOption.builder().withAttachedKeys().build()));
    expect("granted", List.of(left.getGrantedTTL(), left.getKeys().size()), List.of(1000L, 1));
    try (Lab.Events gone = new Lab.Events(c, p + "brief", at, true)) {
      expect("expired", gone.next().kind(), "DELETE");
    }
    get(c.getLeaseClient().revoke(lasting));
    expect("left", Lab.count(c, p), 0L);
    refused("revoked again", c.getLeaseClient().revoke(lasting), "requested lease not found");
  }
}
