// Fork and join over sleeping threads; see workers.h.
#include "workers.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

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

void Workers::start(u32 count) {
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
}

void Workers::loop(u32 index) {
  u64 seen = 0;
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    wake_.wait(lock, [&] { return stopping_ || (task_ && generation_ != seen); });
    if (stopping_) return;
    seen = generation_;
    const auto* task = task_;
    running_++;
    lock.unlock();
    (*task)(index);
    lock.lock();
    if (--running_ == 0) done_.notify_one();
  }
}

void Workers::run(const std::function<void(u32)>& task) {
  if (count_ == 1) return task(0);
  {
    std::lock_guard<std::mutex> lock(mutex_);
    task_ = &task;
    generation_++;
  }
  wake_.notify_all();
  task(0);
  std::unique_lock<std::mutex> lock(mutex_);
  task_ = nullptr;
  done_.wait(lock, [&] { return running_ == 0; });
}

}  // namespace glissade
