// Watches, leases and events: contract_fixture.h says against what.
#include "operator/sim/contract_fixture.h"

namespace fairlead::apisim {
namespace {

INSTANTIATE_TEST_SUITE_P(Servers, Contract, testing::Values("InProcess", "Http", "Real"),
                         [](const auto& test) { return std::string(test.param); });

// ---- watch ----

TEST_P(Contract, WatchDeliversInOrderAndResumes) {
  const std::string start = api().list(kWidgets, in_ns()).value().resource_version;
  const Json made = must(api().create(kWidgets, widget("a")));
  const Json changed = must(api().merge_patch(kWidgets, key("a"), {{"spec", {{"replicas", 2}}}}));
  EXPECT_OK(api().remove(kWidgets, key("a")));
  std::vector<WatchEvent> events = watch_some(kWidgets, start, 3);
  EXPECT_EQ(events[0].type, WatchEventType::kAdded);
  EXPECT_EQ(resource_version_of(events[0].object), resource_version_of(made));
  EXPECT_EQ(string_at(events[0].object, {"kind"}), "Widget");
  EXPECT_EQ(events[1].type, WatchEventType::kModified);
  EXPECT_EQ(kube::int_at(events[1].object, {"spec", "replicas"}), 2);
  EXPECT_EQ(events[2].type, WatchEventType::kDeleted);
  EXPECT_EQ(uid_of(events[2].object), uid_of(made));
  EXPECT_NE(resource_version_of(events[2].object), resource_version_of(changed));

  std::vector<WatchEvent> rest = watch_some(kWidgets, resource_version_of(made), 2);
  EXPECT_EQ(rest[0].type, WatchEventType::kModified);
  EXPECT_EQ(rest[1].type, WatchEventType::kDeleted);
}

TEST_P(Contract, WatchSeesObjectsEnterAndLeaveItsSelector) {
  const std::string start = api().list(gvr::kConfigMaps, in_ns()).value().resource_version;
  must(api().create(gvr::kConfigMaps, config_map("a", {{"on", "no"}})));
  must(api().merge_patch(gvr::kConfigMaps, key("a"), {{"metadata", {{"labels", {{"on", "yes"}}}}}}));
  must(api().merge_patch(gvr::kConfigMaps, key("a"), {{"data", {{"a", "2"}}}}));
  must(api().merge_patch(gvr::kConfigMaps, key("a"), {{"metadata", {{"labels", {{"on", "no"}}}}}}));
  std::vector<WatchEvent> events = watch_some(gvr::kConfigMaps, start, 3, "on=yes");
  EXPECT_EQ(events[0].type, WatchEventType::kAdded);
  EXPECT_EQ(events[1].type, WatchEventType::kModified);
  EXPECT_EQ(events[2].type, WatchEventType::kDeleted);
}

TEST_P(Contract, WatchFromForgottenHistoryIsRefused) {
  must(api().create(kWidgets, widget("a")));
  backend_->forget_history();
  kube::WatchOptions options;
  options.ns = ns_;
  options.resource_version = "1";
  options.timeout = std::chrono::seconds(5);
  EXPECT_CODE(Code::kOutOfRange, api().watch(
                                     kWidgets, options, [](WatchEvent) { return true; }, std::stop_token()));
}

TEST_P(Contract, WatchEndsAtItsTimeoutAndStopsPromptly) {
  kube::WatchOptions options;
  options.ns = ns_;
  options.resource_version = api().list(kWidgets, in_ns()).value().resource_version;
  options.timeout = std::chrono::seconds(1);
  const auto start = std::chrono::steady_clock::now();
  EXPECT_OK(api().watch(
      kWidgets, options, [](WatchEvent) { return true; }, std::stop_token()));
  EXPECT_GE(std::chrono::steady_clock::now() - start, std::chrono::milliseconds(900));

  options.timeout = std::chrono::minutes(5);
  std::stop_source stop;
  std::thread stopper([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    stop.request_stop();
  });
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_CODE(Code::kCancelled, api().watch(
                                    kWidgets, options, [](WatchEvent) { return true; }, stop.get_token()));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
  stopper.join();
}

TEST_P(Contract, InformerFollows) {
  must(api().create(kWidgets, widget("before")));
  std::mutex mutex;
  std::vector<std::string> seen;
  kube::InformerOptions options;
  options.ns = ns_;
  kube::Informer informer(api(), kWidgets, options, [&](const auto& before, const auto& after) {
    std::lock_guard lock(mutex);
    seen.push_back((before ? after ? "~" : "-" : "+") + kube::name_of(after ? *after : *before));
    return true;
  });
  informer.start();
  ASSERT_TRUE(informer.wait_synced(std::stop_token()));
  must(api().create(kWidgets, widget("later")));
  must(api().merge_patch(kWidgets, key("before"), {{"spec", {{"replicas", 2}}}}));
  EXPECT_OK(api().remove(kWidgets, key("later")));
  const std::vector<std::string> want = {"+before", "+later", "~before", "-later"};
  eventually([&] {
    std::lock_guard lock(mutex);
    return seen.size() >= want.size();
  });
  informer.stop();
  EXPECT_EQ(seen, want);
  EXPECT_EQ(informer.list().size(), 1u);
  EXPECT_EQ(kube::int_at(*informer.get(key("before")), {"spec", "replicas"}), 2);
}

// ---- lease and events ----

TEST_P(Contract, LeaderLease) {
  kube::LeaseOptions options;
  options.ns = ns_;
  options.name = "operator";
  options.identity = "one";
  kube::LeaderLease one(api(), options);
  options.identity = "two";
  kube::LeaderLease two(api(), options);
  const int64_t wall = 1'790'000'000'000;
  EXPECT_OK(one.step(1'000, wall));
  EXPECT_TRUE(one.held(1'000));
  EXPECT_OK(two.step(2'000, wall + 1'000));
  EXPECT_FALSE(two.held(2'000));
  EXPECT_EQ(two.holder(), "one");
  EXPECT_OK(one.step(3'000, wall + 2'000));  // renews: the other's waiting starts afresh
  EXPECT_OK(two.step(16'900, wall + 15'000));
  EXPECT_FALSE(two.held(16'900));
  EXPECT_TRUE(one.held(12'999));
  EXPECT_FALSE(one.held(13'000));  // 10 s after its last renewal
  EXPECT_OK(two.step(31'900, wall + 30'000));
  EXPECT_TRUE(two.held(31'900));
  EXPECT_EQ(two.transitions(), 1);
  EXPECT_OK(one.step(32'000, wall + 31'000));
  EXPECT_FALSE(one.held(32'000));
  EXPECT_OK(two.release(wall + 32'000));
  EXPECT_OK(one.step(33'000, wall + 33'000));
  EXPECT_TRUE(one.held(33'000));
  EXPECT_EQ(one.transitions(), 2);
}

TEST_P(Contract, EventsAreCounted) {
  const Json about = must(api().create(kWidgets, widget("a")));
  const int64_t wall = 1'790'000'000'000;
  {
    kube::EventRecorder recorder(api(), "fairlead-operator", "host-1");
    recorder.emit(about, kube::EventType::kWarning, "VolumeLost", "member a-0 lost its volume", wall);
    recorder.emit(about, kube::EventType::kWarning, "VolumeLost", "member a-0 lost its volume",
                  wall + 1'000);  // held back
    recorder.emit(about, kube::EventType::kWarning, "VolumeLost", "member a-0 lost its volume", wall + 20'000);
    recorder.emit(about, kube::EventType::kNormal, "Created", std::string(2'000, 'x'), wall + 20'000);
    EXPECT_EQ(recorder.failures(), 0u);
  }
  kube::EventRecorder restarted(api(), "fairlead-operator", "host-1");
  restarted.emit(about, kube::EventType::kWarning, "VolumeLost", "member a-0 lost its volume", wall + 40'000);
  EXPECT_EQ(restarted.failures(), 0u);
  const std::vector<Json> events = api().list(gvr::kEvents, in_ns()).value().items;
  ASSERT_EQ(events.size(), 2u);
  for (const Json& event : events) {
    EXPECT_EQ(string_at(event, {"involvedObject", "uid"}), uid_of(about));
    if (string_at(event, {"reason"}) == "VolumeLost") {
      EXPECT_EQ(kube::int_at(event, {"count"}), 4);
      EXPECT_EQ(string_at(event, {"type"}), "Warning");
    } else {
      EXPECT_EQ(string_at(event, {"message"}).size(), kube::kEventMessageBytesMax);
    }
  }
}

}  // namespace
}  // namespace fairlead::apisim
