// Fork and join over sleeping threads; see workers.h.
#include "core/threads/workers.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

namespace glissade {

void block_asynchronous_signals() {
  sigset_t set;
  sigfillset(&set);
  for (int synchronous : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS}) sigdelset(&set, synchronous);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

void yield_to_mutators() {
  constexpr int kNice = 10;
  setpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid)), kNice);
}

void* Workers::entry(void* argument) {
  auto* start = static_cast<Start*>(argument);
  Workers* workers = start->workers;
  const u32 index = start->index;
  delete start;
  block_asynchronous_signals();
  yield_to_mutators();
  workers->loop(index);
  return nullptr;
}

void Workers::start(u32 count, bool always, Statistics::Counter& dismissed) {
  dismissed_ = &dismissed;
  for (u32 index = 1; index < count; index++) {
    pthread_t thread;
    auto* start = new Start{this, index};
    if (pthread_create(&thread, nullptr, entry, start) != 0) {
      delete start;
      break;
    }
    threads_.push_back(thread);
    count_ = index + 1;
  }
  active_ = ActiveWorkers(count_, always);
}

void Workers::stop() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  for (pthread_t thread : threads_) pthread_join(thread, nullptr);
  threads_.clear();
  count_ = 1;
  active_ = {};
}

void Workers::loop(u32 index) {
  u64 seen = 0;
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    wake_.wait(lock, [&] { return stopping_ || (task_ && generation_ != seen && index < called_); });
    if (stopping_) return;
    seen = generation_;
    const auto* task = task_;
    running_++;
    lock.unlock();
    const u64 begun_ns = thread_cpu_ns();
    (*task)(index);
    const u64 ran_ns = thread_cpu_ns() - begun_ns;
    lock.lock();
    ran_ns_ += ran_ns;
    if (--running_ == 0) done_.notify_one();
  }
}

void Workers::run(const std::function<void(u32)>& task) {
  const u64 begun_ns = now_ns();
  const u32 called = active_.count(begun_ns);
  if (called == 1) return task(0);
  const u64 begun_cpu_ns = thread_cpu_ns();
  {
    std::lock_guard<std::mutex> lock(mutex_);
    task_ = &task;
    generation_++;
    called_ = called;
    ran_ns_ = 0;
  }
  wake_.notify_all();
  task(0);
  std::unique_lock<std::mutex> lock(mutex_);
  task_ = nullptr;
  done_.wait(lock, [&] { return running_ == 0; });
  const u64 ran_here_ns = thread_cpu_ns() - begun_cpu_ns, end_ns = now_ns();
  const u64 idle_ns = end_ns - begun_ns - std::min(ran_here_ns, end_ns - begun_ns);
  if (active_.note(ran_ns_, idle_ns, end_ns)) Statistics::add(*dismissed_);
}

}  // namespace glissade
