package io.fairlead.clients;

import static io.fairlead.clients.Lab.bytes;
import static io.fairlead.clients.Lab.connect;
import static io.fairlead.clients.Lab.expect;
import static io.fairlead.clients.Lab.get;
import static io.fairlead.clients.Lab.put;
import static io.fairlead.clients.Lab.refused;
import static io.fairlead.clients.Lab.text;
import static io.fairlead.clients.Lab.waits;

import io.etcd.jetcd.Auth;
import io.etcd.jetcd.ByteSequence;
import io.etcd.jetcd.Client;
import io.etcd.jetcd.Election;
import io.etcd.jetcd.Lock;
import io.etcd.jetcd.auth.Permission;
import io.etcd.jetcd.election.CampaignResponse;
import io.etcd.jetcd.election.LeaderKey;
import io.etcd.jetcd.election.LeaderResponse;
import io.etcd.jetcd.lock.LockResponse;
import java.io.File;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/** Lock, Election, Auth and TLS. */
final class Services {
  private Services() {}

  static void lock(Client c, String p) throws Exception {
    Lock mine = c.getLockClient();
    Lock theirs = connect().getLockClient();
    long one = get(c.getLeaseClient().grant(60)).getID();
    long two = get(c.getLeaseClient().grant(60)).getID();
    long three = get(c.getLeaseClient().grant(60)).getID();
    ByteSequence name = bytes(p + "lock");
    LockResponse first = get(mine.lock(name, one));
    CompletableFuture<LockResponse> other = theirs.lock(name, two);
    waits("both have the lock", other);
    get(mine.unlock(first.getKey()));
    get(other);
    CompletableFuture<LockResponse> last = mine.lock(name, three);
    waits("the lock is not held", last);
    get(c.getLeaseClient().revoke(two)); // the holder died
    get(mine.unlock(get(last).getKey()));
  }

  static void election(Client c, String p) throws Exception {
    Election mine = c.getElectionClient();
    Election theirs = connect().getElectionClient();
    long one = get(c.getLeaseClient().grant(60)).getID();
    long two = get(c.getLeaseClient().grant(60)).getID();
    ByteSequence name = bytes(p + "leader");
    LeaderKey first = get(mine.campaign(name, one, bytes("one"))).getLeader();
    expect("leader", text(get(theirs.leader(name)).getKv().getValue()), "one");
    BlockingQueue<String> observed = new LinkedBlockingQueue<>();
    theirs.observe(
        name,
        new Election.Listener() {
          @Override
          public void onNext(LeaderResponse r) {
            observed.add(text(r.getKv().getValue()));
          }

          @Override
          public void onError(Throwable t) {
            observed.add("error: " + t);
          }

          @Override
          public void onCompleted() {
            observed.add("completed");
          }
        });
    expect("observed", observed.poll(Lab.CASE_SECONDS, TimeUnit.SECONDS), "one");
    get(mine.proclaim(first, bytes("one again")));
    expect("observed", observed.poll(Lab.CASE_SECONDS, TimeUnit.SECONDS), "one again");
    CompletableFuture<CampaignResponse> won = theirs.campaign(name, two, bytes("two"));
    waits("two leaders", won);
    get(mine.resign(first));
    LeaderKey second = get(won).getLeader();
    expect("observed", observed.poll(Lab.CASE_SECONDS, TimeUnit.SECONDS), "two");
    get(theirs.resign(second));
    refused("nobody", mine.leader(name), "NoLeader");
  }

  private static Client tlsClient(String authority, String name) throws Exception {
    String pki = Lab.variable("CLIENT_PKI") + "/";
    return connect(
        Client.builder()
            .endpoints("https://" + Lab.variable("CLIENT_TLS_ENDPOINT"))
            .sslContext(
                ssl -> {
                  ssl.trustManager(new File(pki + authority + ".crt"));
                  if (name != null) {
                    ssl.keyManager(new File(pki + name + ".crt"), new File(pki + name + ".pk8"));
                  }
                }));
  }

  static void tls(Client unused, String p) throws Exception {
    Client good = tlsClient("ca", "alice");
    long at = put(good, p + "a", "1");
    expect("watched", Lab.take(good, p, at, 1).get(0).value(), "1");
    String[][] refusals = {{"ca", null}, {"ca", "stranger"}, {"other", "alice"}};
    for (String[] pair : refusals) {
      CompletableFuture<?> bad = tlsClient(pair[0], pair[1]).getKVClient().put(bytes(p + "a"), bytes("2"));
      try {
        bad.get(3, TimeUnit.SECONDS);
      } catch (ExecutionException | TimeoutException e) {
        continue;
      }
      throw new AssertionError("let in: authority " + pair[0] + ", client " + pair[1]);
    }
    expect("value", Lab.valueOf(good, p + "a"), "1");
  }

  private static Client logIn(String user, String password) {
    return connect(Lab.builder().user(bytes(user)).password(bytes(password)));
  }

  private static void withUsers(Client nobody, Client root, String p) throws Exception {
    ByteSequence key = bytes(p + "a");
    refused("wrong password", logIn("alice", "guess").getKVClient().get(key), "authentication failed");
    Client alice = logIn("alice", "alice-secret");
    expect("value", Lab.valueOf(alice, p + "a"), "1");
    refused("write", alice.getKVClient().put(key, bytes("2")), "permission denied");
    refused("outside", alice.getKVClient().get(bytes("elsewhere")), "permission denied");
    refused("no user", nobody.getKVClient().get(key), "user name is empty");
    refused("manage users", alice.getAuthClient().userAdd(bytes("mallory"), bytes("x")), "permission denied");
    // A right that is taken away ends at once, also for a token given out before.
    get(root.getAuthClient().userRevokeRole(bytes("alice"), bytes("reader")));
    refused("after revoke", alice.getKVClient().get(key), "permission denied");
    put(root, p + "a", "2");
  }

  static void auth(Client c, String p) throws Exception {
    put(c, p + "a", "1");
    Auth auth = c.getAuthClient();
    get(auth.roleAdd(bytes("reader")));
    get(auth.roleGrantPermission(bytes("reader"), bytes(p), Lab.prefixEnd(p), Permission.Type.READ));
    for (List<String> pair : List.of(List.of("root", "root"), List.of("alice", "reader"))) {
      get(auth.userAdd(bytes(pair.get(0)), bytes(pair.get(0) + "-secret")));
      get(auth.userGrantRole(bytes(pair.get(0)), bytes(pair.get(1))));
    }
    get(auth.authEnable());
    Client root = logIn("root", "root-secret");
    try {
      withUsers(c, root, p);
    } finally {
      get(root.getAuthClient().authDisable());
    }
    put(c, p + "a", "3");
  }
}
