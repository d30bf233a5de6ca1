package io.fairlead.clients;

import io.etcd.jetcd.ByteSequence;
import io.etcd.jetcd.Client;
import io.etcd.jetcd.ClientBuilder;
import io.etcd.jetcd.KeyValue;
import io.etcd.jetcd.Watch;
import io.etcd.jetcd.options.GetOption;
import io.etcd.jetcd.options.WatchOption;
import io.etcd.jetcd.watch.WatchEvent;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/** What every case uses: where the servers are, the door of lab.py, and plain words for the client's types. */
final class Lab {
  static final int CASE_SECONDS = 180;
  // So long the one that must wait is given to do the wrong thing; a slow machine makes the test weaker, never red.
  static final int WRONG_MILLIS = 300;

  private static final List<Client> open = new ArrayList<>();

  private Lab() {}

  static String variable(String name) {
    return Objects.requireNonNull(System.getenv(name), "run it with e2e/clients/lab.py");
  }

  static ClientBuilder builder() {
    String[] endpoints =
        Arrays.stream(variable("CLIENT_ENDPOINTS").split(",")).map(a -> "http://" + a).toArray(String[]::new);
    return Client.builder().endpoints(endpoints);
  }

  static synchronized Client connect(ClientBuilder builder) {
    Client client = builder.build();
    open.add(client);
    return client;
  }

  static Client connect() {
    return connect(builder());
  }

  static synchronized void closeAll() {
    open.forEach(Client::close);
    open.clear();
  }

  static void control(String action) throws Exception {
    HttpRequest request =
        HttpRequest.newBuilder(URI.create(variable("CLIENT_CONTROL") + action)).POST(HttpRequest.BodyPublishers.noBody()).build();
    HttpResponse<String> answer = HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString());
    if (answer.statusCode() != 200) {
      throw new AssertionError(action + ": " + answer.body());
    }
  }

  static ByteSequence bytes(String text) {
    return ByteSequence.from(text, StandardCharsets.UTF_8);
  }

  static String text(ByteSequence bytes) {
    return bytes.toString(StandardCharsets.UTF_8);
  }

  /** The end of the range of all keys with this prefix, whose last character is below the highest. */
  static ByteSequence prefixEnd(String prefix) {
    int last = prefix.length() - 1;
    return bytes(prefix.substring(0, last) + (char) (prefix.charAt(last) + 1));
  }

  static <T> T get(CompletableFuture<T> future) throws Exception {
    return future.get(CASE_SECONDS, TimeUnit.SECONDS);
  }

  static void expect(String what, Object got, Object want) {
    if (!Objects.equals(got, want)) {
      throw new AssertionError(what + ": got " + got + ", want " + want);
    }
  }

  /** The call fails with an error that says this, somewhere in its chain of causes. */
  static void refused(String what, CompletableFuture<?> future, String want) throws Exception {
    try {
      future.get(CASE_SECONDS, TimeUnit.SECONDS);
    } catch (ExecutionException e) {
      for (Throwable t = e; t != null; t = t.getCause()) {
        if (t.toString().contains(want)) {
          return;
        }
      }
      throw new AssertionError(what + ": got " + e + ", want " + want);
    }
    throw new AssertionError(what + ": was not refused");
  }

  static void waits(String what, CompletableFuture<?> future) throws Exception {
    try {
      future.get(WRONG_MILLIS, TimeUnit.MILLISECONDS);
    } catch (TimeoutException e) {
      return;
    }
    throw new AssertionError(what);
  }

  static String valueOf(Client c, String key) throws Exception {
    List<KeyValue> found = get(c.getKVClient().get(bytes(key))).getKvs();
    return found.isEmpty() ? null : text(found.get(0).getValue());
  }

  static long count(Client c, String prefix) throws Exception {
    return get(c.getKVClient().get(bytes(prefix), GetOption.builder().isPrefix(true).build())).getCount();
  }

  static long put(Client c, String key, String value) throws Exception {
    return get(c.getKVClient().put(bytes(key), bytes(value))).getHeader().getRevision();
  }

  /** What an event says. */
  record Seen(String kind, String key, String value, String before, long revision) {
    static Seen of(WatchEvent e) {
      KeyValue kv = e.getKeyValue();
      return new Seen(e.getEventType().name(), text(kv.getKey()), text(kv.getValue()), text(e.getPrevKV().getValue()), kv.getModRevision());
    }
  }

  /** A watch of a prefix; the client goes on with it by itself when its member is gone. */
  static final class Events implements AutoCloseable {
    private final BlockingQueue<Object> queue = new LinkedBlockingQueue<>();
    private final Watch.Watcher watcher;
    int broken; // how often the stream broke; the client tells, and goes on

    Events(Client c, String prefix, long revision, boolean noPuts) {
      WatchOption options =
          WatchOption.builder().isPrefix(true).withRevision(revision).withPrevKV(true).withNoPut(noPuts).build();
      watcher =
          c.getWatchClient()
              .watch(
                  bytes(prefix),
                  options,
                  Watch.listener(r -> r.getEvents().forEach(e -> queue.add(Seen.of(e))), e -> queue.add(e)));
    }

    Seen next() throws Exception {
      Object last = null;
      while (true) {
        Object one = queue.poll(CASE_SECONDS, TimeUnit.SECONDS);
        if (one instanceof Seen seen) {
          return seen;
        }
        if (one == null) {
          throw new AssertionError("no further event; the last error was " + last);
        }
        last = one;
        ++broken;
      }
    }

    List<Seen> take(int number) throws Exception {
      List<Seen> all = new ArrayList<>();
      while (all.size() < number) {
        all.add(next());
      }
      return all;
    }

    @Override
    public void close() {
      watcher.close();
    }
  }

  static List<Seen> take(Client c, String prefix, long revision, int number) throws Exception {
    try (Events events = new Events(c, prefix, revision, false)) {
      return events.take(number);
    }
  }
}
