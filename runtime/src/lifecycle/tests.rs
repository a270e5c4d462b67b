use super::*;

fn process() -> (Shutdown, Controller, Tasks) {
    let (shutdown, controller) = Shutdown::new();
    let tasks = Tasks::new(controller.clone());
    (shutdown, controller, tasks)
}

#[tokio::test]
async fn a_soft_stop_lets_tasks_finish_what_they_hold() {
    let (shutdown, controller, tasks) = process();
    let (done, finished) = tokio::sync::oneshot::channel();
    tasks.spawn("worker", async move {
        shutdown.stopping().await;
        let _ = done.send("finished");
    });
    assert_eq!(tasks.running(), ["worker"]);
    controller.stop();
    assert_eq!(tasks.wait().await, Ok(()));
    assert_eq!(finished.await, Ok("finished"));
}

#[tokio::test]
async fn an_unexpected_end_stops_the_others_and_fails_the_process() {
    let (shutdown, _controller, tasks) = process();
    tasks.spawn("steady", async move { shutdown.stopping().await });
    tasks.spawn("short", async {});
    let failure = tasks.wait().await.unwrap_err();
    assert_eq!(failure.to_string(), "task short ended although nobody had asked it to");
}

#[tokio::test]
async fn a_panic_fails_the_process_even_in_a_finite_task() {
    let (_shutdown, _controller, tasks) = process();
    tasks.spawn_finite("one-off", async { panic!("boom {}", 1) });
    let failure = tasks.wait().await.unwrap_err();
    assert_eq!(failure.to_string(), "task one-off panicked: boom 1");
}

#[tokio::test]
async fn a_finite_task_may_end() {
    let (_shutdown, controller, tasks) = process();
    tasks.spawn_finite("one-off", async {});
    assert_eq!(tasks.wait().await, Ok(()));
    assert!(!controller.soft.is_cancelled());
}

#[tokio::test]
async fn a_task_that_ignores_the_soft_token_is_dropped_by_the_hard_one() {
    let (shutdown, controller, tasks) = process();
    tasks.spawn("deaf", std::future::pending());
    controller.stop();
    let mut signals = Signals::listen().unwrap();
    let ended = run_until(&controller, &tasks, Duration::from_millis(20), &mut signals).await;
    assert_eq!(ended, Ok(()));
    shutdown.hard().await;
}

#[tokio::test]
async fn a_child_stops_alone_and_with_its_parent() {
    let (shutdown, controller) = Shutdown::new();
    let (child, child_controller) = shutdown.child();
    let (other, _) = shutdown.child();
    child_controller.stop();
    assert!(child.is_stopping() && !other.is_stopping() && !shutdown.is_stopping());
    controller.stop();
    assert!(other.is_stopping());
}
