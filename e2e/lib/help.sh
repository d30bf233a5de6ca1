# ./dev help

verb_help() {
  cat <<'TEXT'
./dev VERB [...]        Every verb sets up what it needs by itself and can be repeated.
                        Times are for 2 cores: the first run, then a run with warm caches.

  help                  this page
  setup                 installs the Debian packages, checks Go                      2 min, 1 s
  build                 release binaries into build/bin                             10 min, 10 s
  test                  unit, simulation, interop; ends with "N passed, N failed"   10 min after a build
      unit              only the unit and interaction tests                          1 min
      sim [--seconds S] only fresh simulator seeds (default 150 s)
      interop [NAME]    other people's clients, and etcd beside us, case by case       5 min
      clients [LANGUAGE] [--reference]
                        programs with the clients of six languages; beside them etcd  15 min, 3 min
      failpoints [NAME ...]
                        members die and sleep at each failpoint; an extra build      10 min
      ctl               fairleadctl beside etcdctl and etcdutl, each verb and format  3 min
      conformance [--run REGEX] [--short] [--fresh] [--jobs N] [--ctl ours] [--server etcd]
                        etcd's own black-box tests; the reference's result is kept  20 min, 10 min
      docs              only the commands that README.md shows                       1 min
      matrix            the operator's crash matrix whole                             10 min
      --sanitize asan   unit tests and seeds under Address- and UBSanitizer          60 min, 20 min
      --sanitize tsan   what has threads, and three real members, under TSan         60 min, 10 min
  nightly [PART ...]    all of the above and below that is too long for each change   6 h
  sim [--seeds N] [--first-seed S] [--seconds S] [--jobs J]
                        N fresh seeds of the simulator (200)                         1 min
      --seed S [--trace]
                        replays one                                                  1 s
      planted           an extra build with planted bugs; each must be found         5 min
  fuzz [NAME ...] [--seconds S]
                        each fuzz target for a minute, or for S seconds             11 min after a build
  demo                  Kubernetes, operator, a cluster; its leader's pod is deleted 15 min, 60 s
      --context NAME    in a Kubernetes of yours (kubectl context NAME)
      down              ends the demo, leaves nothing behind                         5 s
  bench [--only PART] [--quick]
                        Fairlead beside etcd 3.7.1, report with plots                20 min
      start [--rounds N] [--starts N]
                        from a start to the first write; 1,000 starts and stops      2 min
  e2e smoke             as demo, but silent, checked, and taken down afterwards      15 min, 90 s
      alerts            etcd's alert rules and dashboard on live clusters              5 min
      kube up|down|env  only the one-node Kubernetes                                 7 min, 20 s
  image                 server and operator image, without a Docker engine           2 min, 10 s
      --dockerfile      the real Dockerfile by buildah, compared with the former     15 min
  package               the Debian package and the release archive, with checksums    1 min after a build
      test              installs, starts, removes and purges them in a Debian of its own  3 min
  tidy                  layer rule, purity, file sizes, formatting                   10 s
  fmt                   clang-format over our sources                                5 s

Programs of others that are built once are kept in ${FAIRLEAD_CACHE:-~/.cache/fairlead}, what compilers keep where
they always do (Go's module and build caches, ccache); a running demo lives in ${FAIRLEAD_STATE:-/var/lib/fairlead-demo}.
TEXT
}
