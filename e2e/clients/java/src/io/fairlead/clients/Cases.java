package io.fairlead.clients;

import io.etcd.jetcd.Client;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.TimeUnit;

/** The cases of e2e/clients with jetcd, the client for Java. It runs inside lab.py. */
public final class Cases {
  private interface Case {
    void run(Client client, String prefix) throws Exception;
  }

  private Cases() {}

  private static void runCase(String name, Case what) throws Exception {
    CompletableFuture.runAsync(
            () -> {
              try {
                what.run(Lab.connect(), "java/" + name.replace(' ', '-') + "/");
              } catch (Exception e) {
                throw new CompletionException(e);
              }
            },
            work -> new Thread(work).start())
        .get(2L * Lab.CASE_SECONDS, TimeUnit.SECONDS);
  }

  public static void main(String[] arguments) {
    Map<String, Case> cases = new LinkedHashMap<>();
    cases.put("watch resume", Basics::watchResume); // first: no other case has left a watch
    cases.put("kv", Basics::kv);
    cases.put("txn", Basics::txn);
    cases.put("watch", Basics::watch);
    cases.put("lease", Basics::lease);
    cases.put("lock", Services::lock);
    cases.put("election", Services::election);
    cases.put("tls", Services::tls);
    cases.put("auth", Services::auth);
    boolean failed = false;
    for (Map.Entry<String, Case> one : cases.entrySet()) {
      try {
        runCase(one.getKey(), one.getValue());
        System.out.println("ok    " + one.getKey());
      } catch (Exception e) {
        failed = true;
        e.printStackTrace();
        System.out.println("FAIL  " + one.getKey() + ": " + String.valueOf(e.getMessage()).replace('\n', ';'));
      }
      Lab.closeAll();
    }
    System.exit(failed ? 1 : 0);
  }
}
