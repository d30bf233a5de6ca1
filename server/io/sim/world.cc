#include "server/io/sim/world.h"

#include <cstdio>

#include "base/check.h"
#include "server/io/sim/process.h"

namespace fairlead::io::sim {
namespace {

constexpr size_t kLogLinesKept = 4000;

struct Process {
  Life life;
  std::unique_ptr<SimLoop> loop;
  std::unique_ptr<SimWorkers> workers;
  std::unique_ptr<SimLogger> log;
  std::unique_ptr<Net> net;
  std::unique_ptr<Disk> disk;
  std::unique_ptr<Prng> random;
};

struct Host {
  std::string address;
  std::unique_ptr<DiskImage> disk;
  SimClock clock;
  uint32_t lives = 0;
  std::unique_ptr<Process> process;
  std::vector<std::unique_ptr<Process>> dead;  // what is still referred to may only go with the world
  End crash_point_end = End::kKill;
  bool ending = false;
  End end = End::kKill;  // how, if ending was asked for from inside
};

}  // namespace

struct SimWorld::Impl final : ProcessOwner {
  Impl(SimWorld* w, uint64_t s) : world(w), seed(s), prng(s), network(&scheduler, Prng(s ^ 0x6E6574), &w->net_faults) {}

  void process_gone(HostId host) override {
    Host& h = hosts[host];
    finish(host, h.ending ? h.end : h.crash_point_end);
  }
  void keep_log_line(HostId host, LogLevel, std::string line) override {
    line = hosts[host].address + " " + line;
    if (print_log) std::fprintf(stderr, "%s\n", line.c_str());
    if (log_lines.size() >= 2 * kLogLinesKept) log_lines.erase(log_lines.begin(), log_lines.begin() + kLogLinesKept);
    log_lines.push_back(std::move(line));
  }
  bool log_enabled(LogLevel level) const override { return level >= log_level; }

  void finish(HostId host, End how) {
    Host& h = hosts[host];
    CHECK(h.process != nullptr);
    h.process->life->alive = false;
    h.ending = false;
    bool power_cut = how == End::kPowerCut;
    scheduler.mix(power_cut ? "power" : "kill");
    network.process_ended(host, h.process->life, power_cut);
    if (power_cut)
      h.disk->power_cut();
    else
      h.disk->process_killed();
    if (world->on_process_end) world->on_process_end(host, how);
    h.process->loop->clear();
    h.process->workers->clear();
    scheduler.drop(h.process->life);
    h.dead.push_back(std::move(h.process));
  }

  SimWorld* world;
  uint64_t seed;
  Scheduler scheduler;
  Prng prng;
  SimNetwork network;
  std::vector<Host> hosts;
  LogLevel log_level = LogLevel::kWarn;
  bool print_log = false;
  std::vector<std::string> log_lines;
};

SimWorld::SimWorld(uint64_t seed) : impl_(std::make_unique<Impl>(this, seed)) {}
SimWorld::~SimWorld() {
  for (HostId host = 0; host < impl_->hosts.size(); ++host) {
    if (running(host)) end_process(host, End::kKill);
  }
}

Scheduler& SimWorld::scheduler() { return impl_->scheduler; }
Prng& SimWorld::prng() { return impl_->prng; }
Nanos SimWorld::now() const { return impl_->scheduler.now(); }
void SimWorld::run_for(Nanos duration) { impl_->scheduler.run_until(now() + duration); }

HostId SimWorld::add_host(const std::string& address) {
  auto id = static_cast<HostId>(impl_->hosts.size());
  Prng own(impl_->seed ^ ((id + 1) * 0xA0761D6478BD642Full));
  Host host;
  host.address = address;
  host.disk = std::make_unique<DiskImage>(&impl_->scheduler, own.next());
  host.clock.offset = own.between(1, 3600) * kSecond;
  impl_->hosts.push_back(std::move(host));
  impl_->network.add_host(id, address);
  return id;
}

void SimWorld::set_clock_drift(HostId host, int64_t ppm) {
  CHECK(!running(host), "a clock's rate is set before its process starts");
  impl_->hosts.at(host).clock.drift_ppm = ppm;
}

DiskImage& SimWorld::disk(HostId host) { return *impl_->hosts.at(host).disk; }
bool SimWorld::running(HostId host) const { return impl_->hosts.at(host).process != nullptr; }
Life SimWorld::life(HostId host) const {
  const auto& process = impl_->hosts.at(host).process;
  return process ? process->life : nullptr;
}

World SimWorld::start_process(HostId host) {
  Host& h = impl_->hosts.at(host);
  CHECK(h.process == nullptr, "a host runs one process at a time");
  auto process = std::make_unique<Process>();
  process->life = std::make_shared<Incarnation>(Incarnation{host, ++h.lives, true});
  Prng own(impl_->seed ^ ((uint64_t{host} << 32 | h.lives) * 0xE7037ED1A0B428DBull));
  const Life& life = process->life;
  process->loop = std::make_unique<SimLoop>(&impl_->scheduler, life, impl_.get(), own.fork(1), h.clock);
  process->workers =
      std::make_unique<SimWorkers>(&impl_->scheduler, life, impl_.get(), process->loop.get(), own.fork(2));
  process->log = std::make_unique<SimLogger>(&impl_->scheduler, life, impl_.get(), "fairlead");
  process->net = impl_->network.make_net(host, life, process->loop.get());
  process->disk = make_sim_disk(
      h.disk.get(), life, [loop = process->loop.get()](std::function<void()> done) { loop->post(std::move(done)); });
  process->random = std::make_unique<Prng>(own.fork(3));
  h.process = std::move(process);
  const Process& p = *h.process;
  return {p.loop.get(), p.net.get(), p.disk.get(), p.random.get(), p.workers.get(), p.log.get()};
}

void SimWorld::end_process(HostId host, End how) {
  Host& h = impl_->hosts.at(host);
  if (!h.process) return;
  if (h.process->loop->inside()) {
    h.process->life->alive = false;
    h.ending = true;
    h.end = how;
    return;
  }
  impl_->finish(host, how);
}

void SimWorld::set_crash_point_end(End how) {
  for (Host& host : impl_->hosts) host.crash_point_end = how;
}

void SimWorld::post(HostId host, std::function<void()> closure) {
  Host& h = impl_->hosts.at(host);
  if (h.process) h.process->loop->post(std::move(closure));
}

void SimWorld::pause(HostId host, Nanos duration) {
  Host& h = impl_->hosts.at(host);
  if (h.process) h.process->loop->pause_until(now() + duration);
}

void SimWorld::set_link(HostId from, HostId to, bool up) { impl_->network.set_link(from, to, up); }
bool SimWorld::link_up(HostId from, HostId to) const { return impl_->network.link_up(from, to); }
void SimWorld::clog_link(HostId from, HostId to, Nanos extra) { impl_->network.clog(from, to, extra); }
void SimWorld::heal_all_links() { impl_->network.heal_all(); }
void SimWorld::reset_connections(HostId a, HostId b) { impl_->network.reset(a, b); }
const NetStats& SimWorld::net_stats() const { return impl_->network.stats(); }

void SimWorld::set_log(LogLevel level, bool print) {
  impl_->log_level = level;
  impl_->print_log = print;
}
const std::vector<std::string>& SimWorld::log_lines() const { return impl_->log_lines; }

}  // namespace fairlead::io::sim
