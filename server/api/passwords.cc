#include "server/api/passwords.h"

#include <crypt.h>
#include <openssl/crypto.h>

#include <array>
#include <cstring>

#include "server/node/node.h"

namespace fairlead::api {
namespace {

constexpr size_t kPrefix = 4;  // "$2a$"
constexpr size_t kSaltRandomBytes = 16;

// bcrypt as Go's library and "$2b$" have it; "$2a$" would mean a variant of libcrypt's own for some passwords.
std::string bcrypt(const std::string& password, std::string setting) {
  if (setting.size() < kPrefix || setting[0] != '$' || setting[1] != '2') return {};
  setting[2] = 'b';
  auto data = std::make_unique<crypt_data>();
  const char* out = crypt_rn(password.c_str(), setting.c_str(), data.get(), sizeof(crypt_data));
  std::string hash = out ? out : "";
  OPENSSL_cleanse(data.get(), sizeof(crypt_data));
  return hash;
}

std::string new_setting(int cost, const std::array<char, kSaltRandomBytes>& random) {
  char out[CRYPT_GENSALT_OUTPUT_SIZE];
  const char* setting =
      crypt_gensalt_rn("$2b$", static_cast<unsigned long>(cost), random.data(), random.size(), out, sizeof out);
  CHECK(setting != nullptr, "libcrypt has bcrypt");
  return setting;
}

struct Task {
  std::string password, setting, hash;
  ~Task() { OPENSSL_cleanse(password.data(), password.size()); }
};

}  // namespace

bool Passwords::submit(Job job) {
  if (running_ >= kHashesRunningMax && waiting_.size() >= kHashesWaitingMax) return false;
  if (running_ >= kHashesRunningMax) {
    waiting_.push_back(std::move(job));
  } else {
    run(std::move(job));
  }
  return true;
}

void Passwords::run(Job job) {
  ++running_;
  world_.workers->run(std::move(job.work), [this, done = std::move(job.done), alive = alive_] {
    if (!*alive) return;
    --running_;
    if (!waiting_.empty()) {
      Job next = std::move(waiting_.front());
      waiting_.pop_front();
      run(std::move(next));
    }
    done();
  });
}

void Passwords::hash(std::string password, std::function<void(Result<std::string>)> done) {
  if (password.size() > kPasswordBytesMax)
    return done(Status(Code::kUnknown, "bcrypt: password length exceeds 72 bytes"));
  if (password.find('\0') != std::string::npos)
    return done(Status(Code::kInvalidArgument, "etcdserver: a password must not hold a NUL byte"));
  std::array<char, kSaltRandomBytes> random;
  for (size_t i = 0; i < random.size(); i += sizeof(uint64_t)) {
    uint64_t bits = world_.random->next();
    std::memcpy(random.data() + i, &bits, sizeof bits);
  }
  auto task = std::make_shared<Task>();
  task->password = std::move(password);
  task->setting = new_setting(cost_, random);
  bool taken = submit({[task] { task->hash = bcrypt(task->password, task->setting); },
                       [task, done] {
                         if (task->hash.size() <= kPrefix) return done(internal_error("bcrypt failed"));
                         task->hash[2] = 'a';
                         done(task->hash);
                       }});
  if (!taken) done(node::err_too_many_requests());
}

void Passwords::check(std::string hash, std::string password, std::function<void(Result<bool>)> done) {
  auto task = std::make_shared<Task>();
  bool real = !hash.empty() && password.find('\0') == std::string::npos;
  task->setting = real ? hash : new_setting(cost_, {});
  task->password = std::move(password);
  task->hash = std::move(hash);
  auto equal = std::make_shared<bool>(false);
  bool taken =
      submit({[task, real, equal] {
                std::string made = bcrypt(task->password, task->setting);
                *equal = real && made.size() == task->hash.size() && made.size() > kPrefix &&
                         CRYPTO_memcmp(made.data() + kPrefix, task->hash.data() + kPrefix, made.size() - kPrefix) == 0;
              },
              [equal, done] { done(*equal); }});
  if (!taken) done(node::err_too_many_requests());
}

}  // namespace fairlead::api
