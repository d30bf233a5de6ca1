// Who may call what: every gRPC method has a class, and Api wraps each method of the router with the check of its class
// before its handler runs. A method without a class is the administrator's alone, and access_test fails until it has
// one: a new service adds its lines to the table in access.cc.
//
//   kOpen      no identity is asked for (a token that is not valid is still refused where etcd refuses it)
//   kAnyUser   any authenticated user; the handler may ask for more
//   kAdmin     users with the role root
//   kKeys      judged by the keys it touches, where it takes effect: the handler hands Api::caller() on to the node
//
// Handlers get the caller by Api::caller(call): inside the handler's first, synchronous part it costs no look-up.
// A stream's handler outlives its token: it asks again, with Api::with_caller(), for each message that needs rights.
//
// While authentication is off all of this is one branch per call.
// Protocol: etcd's auth rules, Documentation/op-guide/authentication of etcd 3.7.
#pragma once

#include <string_view>

namespace fairlead::api {

enum class Access : uint8_t { kOpen, kAnyUser, kAdmin, kKeys };

// Null: the method has no class.
const Access* access_of(std::string_view path);

}  // namespace fairlead::api
