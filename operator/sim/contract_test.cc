// Objects, concurrency, deletion, custom resources and server-side apply: contract_fixture.h says against what.
#include "operator/sim/contract_fixture.h"

namespace fairlead::apisim {
namespace {

INSTANTIATE_TEST_SUITE_P(Servers, Contract, testing::Values("InProcess", "Http", "Real"),
                         [](const auto& test) { return std::string(test.param); });

// ---- objects ----

TEST_P(Contract, CreateGetListDelete) {
  const Json made = must(api().create(kWidgets, widget("a")));
  EXPECT_FALSE(uid_of(made).empty());
  EXPECT_FALSE(resource_version_of(made).empty());
  EXPECT_FALSE(string_at(made, {"metadata", "creationTimestamp"}).empty());
  EXPECT_EQ(string_at(made, {"kind"}), "Widget");
  EXPECT_EQ(must(api().get(kWidgets, key("a"))), made);

  EXPECT_CODE(Code::kAlreadyExists, api().create(kWidgets, widget("a")).status());
  EXPECT_CODE(Code::kNotFound, api().get(kWidgets, key("b")).status());
  Result<kube::ObjectList> list = api().list(kWidgets, in_ns());
  ASSERT_TRUE(list.is_ok());
  ASSERT_EQ(list->items.size(), 1u);
  EXPECT_EQ(list->items[0], made);
  EXPECT_FALSE(list->resource_version.empty());

  EXPECT_OK(api().remove(kWidgets, key("a")));
  EXPECT_CODE(Code::kNotFound, api().get(kWidgets, key("a")).status());
  EXPECT_CODE(Code::kNotFound, api().remove(kWidgets, key("a")));
  const Json again = must(api().create(kWidgets, widget("a")));
  EXPECT_NE(uid_of(again), uid_of(made));
}

TEST_P(Contract, RefusesNonsense) {
  EXPECT_CODE(Code::kInvalidArgument, api().create(kWidgets, widget("Not_A_Name")).status());
  Json wrong_kind = widget("a");
  wrong_kind["kind"] = "Gadget";
  EXPECT_CODE(Code::kInvalidArgument, api().create(kWidgets, wrong_kind).status());
  Json versioned = widget("a");
  versioned["metadata"]["resourceVersion"] = "5";
  EXPECT_CODE(Code::kInternal, api().create(kWidgets, versioned).status());  // 500 it is
  Json bad_label = widget("a");
  bad_label["metadata"]["labels"]["x"] = "not a label!";
  EXPECT_CODE(Code::kInvalidArgument, api().create(kWidgets, bad_label).status());
  Json elsewhere = widget("a");
  elsewhere["metadata"]["namespace"] = "no-such-namespace";
  EXPECT_CODE(Code::kNotFound, api().create(kWidgets, elsewhere).status());
  EXPECT_CODE(Code::kNotFound, api().get({"contract.fairlead.io", "v1", "gadgets"}, key("a")).status());
  Json two_controllers = widget("a");
  const Json owner = {{"apiVersion", "v1"}, {"kind", "Pod"}, {"name", "p"}, {"uid", "u1"}, {"controller", true}};
  Json other = owner;
  other["uid"] = "u2";
  two_controllers["metadata"]["ownerReferences"] = {owner, other};
  EXPECT_CODE(Code::kInvalidArgument, api().create(kWidgets, two_controllers).status());
}

TEST_P(Contract, ListItemsHaveKindAndPagesAreJoined) {
  for (int i = 0; i < 5; i++)
    must(api().create(gvr::kConfigMaps, config_map("cm-" + std::to_string(i), {{"page", "yes"}})));
  kube::ListOptions options = in_ns("page=yes");
  options.limit = 2;
  Result<kube::ObjectList> list = api().list(gvr::kConfigMaps, options);
  ASSERT_TRUE(list.is_ok()) << list.status().to_string();
  ASSERT_EQ(list->items.size(), 5u);
  for (int i = 0; i < 5; i++) {
    EXPECT_EQ(kube::name_of(list->items[static_cast<size_t>(i)]), "cm-" + std::to_string(i));
    EXPECT_EQ(string_at(list->items[static_cast<size_t>(i)], {"kind"}), "ConfigMap");
    EXPECT_EQ(string_at(list->items[static_cast<size_t>(i)], {"apiVersion"}), "v1");
  }
}

TEST_P(Contract, LabelSelectors) {
  must(api().create(gvr::kConfigMaps, config_map("a", {{"app", "x"}, {"tier", "db"}})));
  must(api().create(gvr::kConfigMaps, config_map("b", {{"app", "x"}})));
  must(api().create(gvr::kConfigMaps, config_map("c", {{"app", "y"}})));
  const auto names = [&](const std::string& selector) {
    std::string text;
    Result<kube::ObjectList> list = api().list(gvr::kConfigMaps, in_ns(selector));
    if (!list.is_ok()) return list.status().to_string();
    for (const Json& item : list->items) {
      if (kube::name_of(item) != "kube-root-ca.crt") text += kube::name_of(item);
    }
    return text;
  };
  EXPECT_EQ(names("app=x"), "ab");
  EXPECT_EQ(names("app==x,tier=db"), "a");
  EXPECT_EQ(names("app!=x"), "c");
  EXPECT_EQ(names("app in (x, y)"), "abc");
  EXPECT_EQ(names("app,app notin (x)"), "c");
  EXPECT_EQ(names("app,!tier"), "bc");
  EXPECT_CODE(Code::kInvalidArgument, api().list(gvr::kConfigMaps, in_ns("a=b=c(")).status());
}

// ---- concurrency ----

TEST_P(Contract, OptimisticConcurrency) {
  const Json first = must(api().create(kWidgets, widget("a")));
  Json second = first;
  second["spec"]["replicas"] = 2;
  second = must(api().replace(kWidgets, second));
  EXPECT_NE(resource_version_of(second), resource_version_of(first));

  Json late = first;
  late["spec"]["replicas"] = 3;
  EXPECT_CODE(Code::kAborted, api().replace(kWidgets, late).status());
  Json stranger = second;
  stranger["metadata"]["uid"] = "11111111-2222-3333-4444-555555555555";
  EXPECT_CODE(Code::kAborted, api().replace(kWidgets, stranger).status());
  Json unversioned = second;
  unversioned["metadata"].erase("resourceVersion");
  EXPECT_CODE(Code::kInvalidArgument, api().replace(kWidgets, unversioned).status());  // custom resources demand it
  EXPECT_CODE(Code::kNotFound, api().replace(kWidgets, widget("b", {{"replicas", 1}})).status());

  const Json stale_patch = {{"metadata", {{"resourceVersion", resource_version_of(first)}}},
                            {"spec", {{"replicas", 5}}}};
  EXPECT_CODE(Code::kAborted, api().merge_patch(kWidgets, key("a"), stale_patch).status());
  const Json patch = {{"metadata", {{"resourceVersion", resource_version_of(second)}, {"uid", uid_of(second)}}},
                      {"spec", {{"replicas", 5}}}};
  EXPECT_EQ(kube::int_at(must(api().merge_patch(kWidgets, key("a"), patch)), {"spec", "replicas"}), 5);
}

TEST_P(Contract, UnconditionalReplaceOfBuiltInKinds) {
  must(api().create(gvr::kConfigMaps, config_map("a")));
  Json next = config_map("a");
  next["data"]["a"] = "2";
  EXPECT_EQ(string_at(must(api().replace(gvr::kConfigMaps, next)), {"data", "a"}), "2");
}

TEST_P(Contract, DeletePreconditions) {
  const Json made = must(api().create(gvr::kConfigMaps, config_map("a")));
  EXPECT_CODE(Code::kAborted,
              api().remove(
                  gvr::kConfigMaps, key("a"),
                  {.uid = "11111111-2222-3333-4444-555555555555", .resource_version = {}, .grace_period_seconds = {}}));
  Json next = made;
  next["data"]["a"] = "2";
  must(api().replace(gvr::kConfigMaps, next));
  kube::DeleteOptions options;
  options.uid = uid_of(made);
  options.resource_version = resource_version_of(made);
  EXPECT_CODE(Code::kAborted, api().remove(gvr::kConfigMaps, key("a"), options));
  options.resource_version.reset();
  EXPECT_OK(api().remove(gvr::kConfigMaps, key("a"), options));
}

TEST_P(Contract, GenerationAndNoOps) {
  const Json made = must(api().create(kWidgets, widget("a")));
  EXPECT_EQ(kube::generation_of(made), 1);
  const Json labelled = must(api().merge_patch(kWidgets, key("a"), {{"metadata", {{"labels", {{"x", "y"}}}}}}));
  EXPECT_EQ(kube::generation_of(labelled), 1);
  EXPECT_NE(resource_version_of(labelled), resource_version_of(made));
  const Json same = must(api().merge_patch(kWidgets, key("a"), {{"metadata", {{"labels", {{"x", "y"}}}}}}));
  EXPECT_EQ(resource_version_of(same), resource_version_of(labelled));
  const Json reported =
      must(api().merge_patch(kWidgets, key("a"), {{"status", {{"phase", "Good"}}}}, by("op", false, "status")));
  EXPECT_EQ(kube::generation_of(reported), 1);
  const Json scaled = must(api().merge_patch(kWidgets, key("a"), {{"spec", {{"replicas", 2}}}}));
  EXPECT_EQ(kube::generation_of(scaled), 2);
  Json replaced = must(api().replace(kWidgets, scaled));
  EXPECT_EQ(resource_version_of(replaced), resource_version_of(scaled));
}

TEST_P(Contract, StatusIsApart) {
  Json with_status = widget("a");
  with_status["status"]["phase"] = "Smuggled";
  const Json made = must(api().create(kWidgets, with_status));
  EXPECT_TRUE(at(made, {"status"}).is_null());
  must(api().merge_patch(kWidgets, key("a"), {{"status", {{"phase", "Smuggled"}}}}));
  EXPECT_TRUE(at(must(api().get(kWidgets, key("a"))), {"status", "phase"}).is_null());

  Json both = must(api().get(kWidgets, key("a")));
  both["spec"]["replicas"] = 7;
  both["status"]["phase"] = "Good";
  both["metadata"]["labels"]["by-status"] = "no";
  const Json after = must(api().replace(kWidgets, both, by("op", false, "status")));
  EXPECT_EQ(string_at(after, {"status", "phase"}), "Good");
  EXPECT_EQ(kube::int_at(after, {"spec", "replicas"}), 1);
  EXPECT_TRUE(kube::labels_of(after).empty());
  EXPECT_CODE(Code::kNotFound,
              api().merge_patch(gvr::kConfigMaps, key("a"), {{"status", 1}}, by("op", false, "status")).status());
}

TEST_P(Contract, ScaleSubresource) {
  must(api().create(kWidgets, widget("a")));
  Request read;
  read.gvr = kWidgets;
  read.key = key("a");
  read.subresource = "scale";
  EXPECT_EQ(kube::int_at(must(api().call(read)), {"spec", "replicas"}), 1);
  must(api().merge_patch(kWidgets, key("a"), {{"spec", {{"replicas", 3}}}}, by("hpa", false, "scale")));
  EXPECT_EQ(kube::int_at(must(api().get(kWidgets, key("a"))), {"spec", "replicas"}), 3);
}

// ---- deletion ----

TEST_P(Contract, Finalizers) {
  Json object = widget("a");
  object["metadata"]["finalizers"] = {"contract.fairlead.io/one", "contract.fairlead.io/two"};
  const Json made = must(api().create(kWidgets, object));
  EXPECT_OK(api().remove(kWidgets, key("a")));
  Json dying = must(api().get(kWidgets, key("a")));
  EXPECT_TRUE(kube::is_terminating(dying));
  EXPECT_EQ(uid_of(dying), uid_of(made));
  EXPECT_EQ(kube::generation_of(dying), 2);
  EXPECT_OK(api().remove(kWidgets, key("a")));  // again: nothing new
  EXPECT_EQ(resource_version_of(must(api().get(kWidgets, key("a")))), resource_version_of(dying));
  EXPECT_CODE(Code::kAlreadyExists, api().create(kWidgets, widget("a")).status());

  const auto set_finalizers = [&](Json list) {
    return api().merge_patch(kWidgets, key("a"), {{"metadata", {{"finalizers", std::move(list)}}}}).status();
  };
  EXPECT_CODE(Code::kInvalidArgument, set_finalizers({"contract.fairlead.io/one", "contract.fairlead.io/new"}));
  EXPECT_OK(set_finalizers({"contract.fairlead.io/two"}));
  EXPECT_OK(api().get(kWidgets, key("a")).status());
  EXPECT_OK(set_finalizers(nullptr));
  EXPECT_CODE(Code::kNotFound, api().get(kWidgets, key("a")).status());
}

TEST_P(Contract, PodDeletion) {
  must(api().create(gvr::kPods, pod("unbound")));
  EXPECT_OK(api().remove(gvr::kPods, key("unbound")));
  EXPECT_CODE(Code::kNotFound, api().get(gvr::kPods, key("unbound")).status());  // nobody runs it

  const Json made = must(api().create(gvr::kPods, pod("bound")));
  EXPECT_EQ(string_at(made, {"status", "phase"}), "Pending");
  Request bind;
  bind.verb = kube::Verb::kCreate;
  bind.gvr = gvr::kPods;
  bind.key = key("bound");
  bind.subresource = "binding";
  bind.body = {{"apiVersion", "v1"},
               {"kind", "Binding"},
               {"metadata", {{"name", "bound"}, {"namespace", ns_}}},
               {"target", {{"apiVersion", "v1"}, {"kind", "Node"}, {"name", "n1"}}}};
  EXPECT_OK(api().call(bind).status());
  EXPECT_CODE(Code::kAborted, api().call(bind).status());
  EXPECT_OK(api().remove(gvr::kPods, key("bound"),
                         {.uid = uid_of(made), .resource_version = {}, .grace_period_seconds = {}}));
  const Json dying = must(api().get(gvr::kPods, key("bound")));
  EXPECT_TRUE(kube::is_terminating(dying));
  EXPECT_EQ(kube::int_at(dying, {"metadata", "deletionGracePeriodSeconds"}), 30);
  EXPECT_EQ(string_at(dying, {"spec", "nodeName"}), "n1");
  EXPECT_CODE(Code::kAlreadyExists, api().create(gvr::kPods, pod("bound")).status());
  kube::DeleteOptions now;
  now.grace_period_seconds = 0;
  EXPECT_OK(api().remove(gvr::kPods, key("bound"), now));
  EXPECT_CODE(Code::kNotFound, api().get(gvr::kPods, key("bound")).status());
}

TEST_P(Contract, PodsAreFrozen) {
  Json made = must(api().create(gvr::kPods, pod("a")));
  EXPECT_CODE(Code::kInvalidArgument,
              api().merge_patch(gvr::kPods, key("a"), {{"spec", {{"restartPolicy", "Never"}}}}).status());
  EXPECT_CODE(Code::kInvalidArgument,
              api().merge_patch(gvr::kPods, key("a"), {{"spec", {{"nodeName", "n1"}}}}).status());
  made["spec"]["containers"][0]["image"] = "localhost/x:2";
  EXPECT_OK(api().replace(gvr::kPods, made).status());
  Json empty = pod("b");
  empty["spec"]["containers"] = Json::array();
  EXPECT_CODE(Code::kInvalidArgument, api().create(gvr::kPods, empty).status());
}

TEST_P(Contract, Claims) {
  const Json claim = {
      {"apiVersion", "v1"},
      {"kind", "PersistentVolumeClaim"},
      {"metadata", {{"namespace", ns_}, {"name", "data"}}},
      {"spec", {{"accessModes", {"ReadWriteOnce"}}, {"resources", {{"requests", {{"storage", "1Gi"}}}}}}}};
  const Json made = must(api().create(gvr::kPersistentVolumeClaims, claim));
  EXPECT_TRUE(kube::has_finalizer(made, "kubernetes.io/pvc-protection"));
  EXPECT_EQ(string_at(made, {"status", "phase"}), "Pending");
  const auto resize = [&](const char* size) {
    return api()
        .merge_patch(gvr::kPersistentVolumeClaims, key("data"),
                     {{"spec", {{"resources", {{"requests", {{"storage", size}}}}}}}})
        .status();
  };
  EXPECT_CODE(Code::kInvalidArgument, resize("2Gi"));  // not bound yet
  EXPECT_CODE(Code::kInvalidArgument, api()
                                          .merge_patch(gvr::kPersistentVolumeClaims, key("data"),
                                                       {{"spec", {{"accessModes", {"ReadWriteMany"}}}}})
                                          .status());
  must(api().merge_patch(gvr::kPersistentVolumeClaims, key("data"), {{"spec", {{"volumeName", "pv-1"}}}}));
  EXPECT_CODE(
      Code::kInvalidArgument,
      api().merge_patch(gvr::kPersistentVolumeClaims, key("data"), {{"spec", {{"volumeName", "pv-2"}}}}).status());
  must(api().merge_patch(gvr::kPersistentVolumeClaims, key("data"),
                         {{"status", {{"phase", "Bound"}, {"capacity", {{"storage", "1Gi"}}}}}},
                         by("binder", false, "status")));
  EXPECT_CODE(Code::kInvalidArgument, resize("500Mi"));
  EXPECT_OK(api().remove(gvr::kPersistentVolumeClaims, key("data")));
  EXPECT_TRUE(kube::is_terminating(must(api().get(gvr::kPersistentVolumeClaims, key("data")))));
  must(api().merge_patch(gvr::kPersistentVolumeClaims, key("data"), {{"metadata", {{"finalizers", nullptr}}}}));
  EXPECT_CODE(Code::kNotFound, api().get(gvr::kPersistentVolumeClaims, key("data")).status());
}

TEST_P(Contract, Services) {
  Json service = {
      {"apiVersion", "v1"},
      {"kind", "Service"},
      {"metadata", {{"namespace", ns_}, {"name", "s"}}},
      {"spec", {{"selector", {{"app", "x"}}}, {"ports", Json::array({{{"name", "client"}, {"port", 2379}}})}}}};
  const Json made = must(api().create(gvr::kServices, service));
  const std::string address = string_at(made, {"spec", "clusterIP"});
  EXPECT_FALSE(address.empty());
  service["spec"]["selector"]["app"] = "y";
  service["metadata"]["resourceVersion"] = resource_version_of(made);
  const Json next = must(api().replace(gvr::kServices, service));
  EXPECT_EQ(string_at(next, {"spec", "clusterIP"}), address);
  EXPECT_CODE(Code::kInvalidArgument,
              api().merge_patch(gvr::kServices, key("s"), {{"spec", {{"clusterIP", "10.96.7.7"}}}}).status());
  Json headless = service;
  headless["metadata"] = {{"namespace", ns_}, {"name", "peers"}};
  headless["spec"]["clusterIP"] = "None";
  headless["spec"]["publishNotReadyAddresses"] = true;
  EXPECT_EQ(string_at(must(api().create(gvr::kServices, headless)), {"spec", "clusterIP"}), "None");
}

// ---- custom resources ----

TEST_P(Contract, SchemaDefaultsAndPruning) {
  Json object = widget("a");
  object["spec"]["unknown"] = "field";
  object["extra"] = 1;
  const Json made = must(api().create(kWidgets, object));
  EXPECT_EQ(string_at(made, {"spec", "mode"}), "Large");
  EXPECT_EQ(string_at(made, {"spec", "storage", "size"}), "1Gi");
  EXPECT_TRUE(at(made, {"spec", "unknown"}).is_null());
  EXPECT_TRUE(at(made, {"extra"}).is_null());
  // setting null brings the default back
  must(api().merge_patch(kWidgets, key("a"), {{"spec", {{"storage", {{"size", "2Gi"}}}}}}));
  const Json reset = must(api().merge_patch(kWidgets, key("a"), {{"spec", {{"storage", nullptr}}}}));
  EXPECT_EQ(string_at(reset, {"spec", "storage", "size"}), "1Gi");
}

TEST_P(Contract, SchemaValidation) {
  const auto refused = [&](Json spec) {
    EXPECT_CODE(Code::kInvalidArgument, api().create(kWidgets, widget("x", std::move(spec))).status());
  };
  refused(Json::object());
  refused({{"replicas", "three"}});
  refused({{"replicas", 8}});
  refused({{"replicas", -1}});
  refused({{"replicas", 1.5}});
  refused({{"replicas", 1}, {"mode", "Huge"}});
  refused({{"replicas", 1}, {"note", "this is much longer than it may be"}});
  refused({{"replicas", 1}, {"note", "UPPER"}});
  refused({{"replicas", 1}, {"limits", {{"cpu", true}}}});
  refused({{"replicas", 1}, {"ports", Json::array({{{"number", 1}}})}});
  refused({{"replicas", 1}, {"ports", Json::array({{{"name", "a"}}, {{"name", "a"}}})}});
  refused(
      {{"replicas", 1}, {"ports", Json::array({{{"name", "a"}}, {{"name", "b"}}, {{"name", "c"}}, {{"name", "d"}}})}});
  refused({{"replicas", 1}, {"tags", {"a", "a"}}});
  Json no_spec = widget("x");
  no_spec.erase("spec");
  EXPECT_CODE(Code::kInvalidArgument, api().create(kWidgets, no_spec).status());
  EXPECT_OK(
      api()
          .create(kWidgets,
                  widget("ok", {{"replicas", 1}, {"limits", {{"cpu", 2}, {"memory", "1Gi"}}}, {"tags", {"a", "b"}}}))
          .status());
}

TEST_P(Contract, CelRules) {
  Status refused = api().create(kWidgets, widget("a", {{"replicas", 5}, {"mode", "Small"}})).status();
  EXPECT_CODE(Code::kInvalidArgument, refused);
  EXPECT_NE(refused.message().find("Small has at most 3 replicas"), std::string_view::npos) << refused.to_string();
  must(api().create(kWidgets, widget("a", {{"replicas", 3}, {"mode", "Small"}})));
  Status immutable = api().merge_patch(kWidgets, key("a"), {{"spec", {{"mode", "Large"}}}}).status();
  EXPECT_CODE(Code::kInvalidArgument, immutable);
  EXPECT_NE(immutable.message().find("mode is immutable"), std::string_view::npos) << immutable.to_string();
  EXPECT_OK(api().merge_patch(kWidgets, key("a"), {{"spec", {{"replicas", 2}}}}).status());
}

// The definitions we ship: a real server refuses what is too costly or not structural, the simulated one what it would
// not check.
TEST_P(Contract, OurDefinitions) {
  for (const char* file : {"manifests/crds/fairleadclusters.yaml", "manifests/crds/fairleadmembers.yaml"}) {
    Result<std::vector<Json>> documents = kube::parse_yaml_file(file);
    ASSERT_TRUE(documents.is_ok()) << documents.status().to_string();
    for (const Json& document : *documents) {
      Status created = api().create(gvr::kCustomResourceDefinitions, document).status();
      EXPECT_TRUE(created.is_ok() || created.code() == Code::kAlreadyExists) << created.to_string();
    }
  }
  const Gvr clusters{"fairlead.io", "v1alpha1", "fairleadclusters"};
  eventually([&] { return api().list(clusters, in_ns()).is_ok(); });
  Json sample = kube::parse_yaml_file("manifests/samples/cluster.yaml").value().at(0);
  sample["metadata"]["namespace"] = ns_;
  const Json made = must(api().create(clusters, sample));
  EXPECT_EQ(string_at(made, {"spec", "bootstrap", "mode"}), "Static");
  EXPECT_EQ(string_at(made, {"spec", "storage", "reclaim"}), "Delete");
  const ObjectKey demo = key_of(made);
  EXPECT_CODE(Code::kInvalidArgument, api().merge_patch(clusters, demo, {{"spec", {{"replicas", 4}}}}).status());
  EXPECT_CODE(Code::kInvalidArgument,
              api().merge_patch(clusters, demo, {{"spec", {{"storage", {{"size", "1Mi"}}}}}}).status());
  EXPECT_OK(api().merge_patch(clusters, demo, {{"spec", {{"storage", {{"size", "1.5Gi"}}}}}}).status());
  EXPECT_CODE(Code::kInvalidArgument,
              api().merge_patch(clusters, demo, {{"spec", {{"storage", {{"storageClassName", "other"}}}}}}).status());
  must(api().merge_patch(clusters, demo, {{"status", {{"clusterID", "abc"}}}}, by("op", false, "status")));
  EXPECT_CODE(
      Code::kInvalidArgument,
      api().merge_patch(clusters, demo, {{"status", {{"clusterID", "abd"}}}}, by("op", false, "status")).status());
  sample["metadata"]["name"] = std::string(53, 'a');
  EXPECT_CODE(Code::kInvalidArgument, api().create(clusters, sample).status());
}

// ---- server-side apply ----

TEST_P(Contract, ApplyCreatesAndOwns) {
  const Json made = must(api().apply(kWidgets, widget("a", {{"replicas", 1}, {"note", "hello"}}), by("one")));
  EXPECT_EQ(kube::generation_of(made), 1);
  EXPECT_EQ(string_at(made, {"metadata", "managedFields"}), "");
  const Json& entry = at(made, {"metadata", "managedFields"}).at(0);
  EXPECT_EQ(string_at(entry, {"manager"}), "one");
  EXPECT_EQ(string_at(entry, {"operation"}), "Apply");
  EXPECT_EQ(at(entry, {"fieldsV1", "f:spec"}), Json({{"f:replicas", Json::object()}, {"f:note", Json::object()}}));

  const Json same = must(api().apply(kWidgets, widget("a", {{"replicas", 1}, {"note", "hello"}}), by("one")));
  EXPECT_EQ(resource_version_of(same), resource_version_of(made));
  // a field left out goes away; a default stays
  const Json less = must(api().apply(kWidgets, widget("a", {{"replicas", 1}}), by("one")));
  EXPECT_TRUE(at(less, {"spec", "note"}).is_null());
  EXPECT_EQ(string_at(less, {"spec", "mode"}), "Large");
  EXPECT_CODE(Code::kInvalidArgument, api().apply(kWidgets, widget("a"), by("")).status());
}

TEST_P(Contract, ApplyConflictsAndForce) {
  must(api().apply(kWidgets, widget("a", {{"replicas", 1}, {"note", "one"}}), by("one")));
  EXPECT_CODE(Code::kAborted, api().apply(kWidgets, widget("a", {{"replicas", 2}}), by("two")).status());
  // the same value is shared ownership, not a conflict
  must(api().apply(kWidgets, widget("a", {{"replicas", 1}}), by("two")));
  EXPECT_CODE(Code::kAborted, api().apply(kWidgets, widget("a", {{"replicas", 2}}), by("two")).status());
  const Json forced = must(api().apply(kWidgets, widget("a", {{"replicas", 2}}), by("two", true)));
  EXPECT_EQ(kube::int_at(forced, {"spec", "replicas"}), 2);
  EXPECT_EQ(string_at(forced, {"spec", "note"}), "one");
  EXPECT_CODE(Code::kAborted,
              api().apply(kWidgets, widget("a", {{"replicas", 1}, {"note", "one"}}), by("one")).status());
  // a plain write takes the field as well
  must(api().merge_patch(kWidgets, key("a"), {{"spec", {{"replicas", 4}}}}, by("kubectl")));
  EXPECT_CODE(Code::kAborted, api().apply(kWidgets, widget("a", {{"replicas", 2}}), by("two")).status());
}

TEST_P(Contract, ApplySharedFieldsOutliveOneOwner) {
  must(api().apply(kWidgets, widget("a", {{"replicas", 1}, {"note", "shared"}}), by("one")));
  must(api().apply(kWidgets, widget("a", {{"replicas", 1}, {"note", "shared"}}), by("two")));
  EXPECT_EQ(string_at(must(api().apply(kWidgets, widget("a", {{"replicas", 1}}), by("one"))), {"spec", "note"}),
            "shared");
  EXPECT_TRUE(at(must(api().apply(kWidgets, widget("a", {{"replicas", 1}}), by("two"))), {"spec", "note"}).is_null());
}

TEST_P(Contract, ApplyLists) {
  const Json port_a = {{"name", "a"}, {"number", 1}}, port_b = {{"name", "b"}, {"number", 2}};
  must(api().apply(kWidgets,
                   widget("a", {{"replicas", 1}, {"ports", {port_a}}, {"tags", {"x"}}, {"order", {"1", "2"}}}),
                   by("one")));
  const Json both =
      must(api().apply(kWidgets, widget("a", {{"replicas", 1}, {"ports", {port_b}}, {"tags", {"y"}}}), by("two")));
  EXPECT_EQ(at(both, {"spec", "ports"}), Json({port_a, port_b}));
  EXPECT_EQ(at(both, {"spec", "tags"}), Json({"x", "y"}));
  EXPECT_CODE(Code::kAborted,
              api().apply(kWidgets, widget("a", {{"replicas", 1}, {"order", {"3"}}}), by("two")).status());
  const Json one = must(api().apply(kWidgets, widget("a", {{"replicas", 1}, {"order", {"1", "2"}}}), by("one")));
  EXPECT_EQ(at(one, {"spec", "ports"}), Json({port_b}));
  EXPECT_EQ(at(one, {"spec", "tags"}), Json({"y"}));
}

TEST_P(Contract, ApplyMetadata) {
  Json config = config_map("a", {{"mine", "1"}});
  config["metadata"]["finalizers"] = {"contract.fairlead.io/a"};
  must(api().apply(gvr::kConfigMaps, config, by("one")));
  must(api().merge_patch(gvr::kConfigMaps, key("a"), {{"metadata", {{"labels", {{"theirs", "2"}}}}}}, by("kubectl")));
  config["metadata"].erase("finalizers");
  config["metadata"]["labels"] = {{"other", "3"}};
  const Json after = must(api().apply(gvr::kConfigMaps, config, by("one")));
  EXPECT_EQ(kube::labels_of(after), (std::map<std::string, std::string>{{"theirs", "2"}, {"other", "3"}}));
  EXPECT_TRUE(at(after, {"metadata", "finalizers"}).is_null());
}

TEST_P(Contract, ApplyPreconditionsAndStatus) {
  Json absent = widget("a");
  absent["metadata"]["uid"] = "11111111-2222-3333-4444-555555555555";
  EXPECT_CODE(Code::kAborted, api().apply(kWidgets, absent, by("one")).status());
  const Json made = must(api().apply(kWidgets, widget("a"), by("one")));
  // of another object than the one that is there: "immutable", not a conflict
  EXPECT_CODE(Code::kInvalidArgument, api().apply(kWidgets, absent, by("one")).status());
  EXPECT_CODE(Code::kInvalidArgument,
              api().merge_patch(kWidgets, key("a"), {{"metadata", {{"uid", uid_of(absent)}}}}).status());
  Json versioned = widget("a", {{"replicas", 4}});
  versioned["metadata"]["uid"] = uid_of(made);
  versioned["metadata"]["resourceVersion"] = resource_version_of(made);
  must(api().apply(kWidgets, versioned, by("one")));
  versioned["spec"]["replicas"] = 1;
  EXPECT_CODE(Code::kAborted, api().apply(kWidgets, versioned, by("one")).status());
  must(api().apply(kWidgets, widget("a"), by("one")));

  Json status = {{"apiVersion", "contract.fairlead.io/v1"},
                 {"kind", "Widget"},
                 {"metadata", {{"namespace", ns_}, {"name", "a"}}},
                 {"status", {{"phase", "Good"}, {"replicas", 1}}}};
  status["metadata"]["uid"] = uid_of(made);
  const Json reported = must(api().apply(kWidgets, status, by("one", true, "status")));
  EXPECT_EQ(string_at(reported, {"status", "phase"}), "Good");
  EXPECT_EQ(kube::int_at(reported, {"spec", "replicas"}), 1);
  status["status"].erase("phase");
  const Json less = must(api().apply(kWidgets, status, by("one", true, "status")));
  EXPECT_TRUE(at(less, {"status", "phase"}).is_null());
  EXPECT_EQ(kube::int_at(less, {"status", "replicas"}), 1);
  EXPECT_EQ(kube::generation_of(less), 3);
  // applying the main resource again leaves the status alone
  const Json main = must(api().apply(kWidgets, widget("a", {{"replicas", 2}}), by("one")));
  EXPECT_EQ(kube::int_at(main, {"status", "replicas"}), 1);
}

TEST_P(Contract, ApplyPodAgainChangesNothing) {
  const Json made = must(api().apply(gvr::kPods, pod("a"), by("one")));
  const Json again = must(api().apply(gvr::kPods, pod("a"), by("one")));
  EXPECT_EQ(resource_version_of(again), resource_version_of(made));
  Json other = pod("a");
  other["spec"]["containers"][0]["command"] = {"sh"};
  EXPECT_CODE(Code::kInvalidArgument, api().apply(gvr::kPods, other, by("one")).status());
}

}  // namespace
}  // namespace fairlead::apisim
