//! Job control: what a user's shell does to a governed job, and what a governed shell does to its own.

use std::thread;
use std::time::Duration;

use crate::domain::{Domain, await_some};
use crate::screen::Screen;

#[test]
fn a_stopped_job_keeps_its_authority_and_goes_on() {
    let domain = Domain::new();
    let mut screen = Screen::shell(&domain);
    screen.types("placet run -- sh -c 'echo begun; read x; echo \"got $x\"; exit 3'\r");
    screen.sees("begun\r\n");
    screen.types("\x1a");
    screen.sees("Stopped");
    screen.sees("ready> ");
    // Longer than the lease.
    thread::sleep(Duration::from_secs(5));
    assert_eq!(domain.executions().pop().unwrap()["status"], "running");
    screen.types("jobs\r");
    screen.sees("Stopped");
    screen.sees("ready> ");
    // In the background it wants to read, and is stopped for it.
    screen.types("bg\r");
    screen.sees("ready> ");
    await_some("the stop", || {
        screen.types("jobs\r");
        let shown = screen.sees("ready> ");
        shown.contains("Stopped").then_some(())
    });
    screen.types("fg\r");
    screen.sees("exit 3'\r\n");
    screen.types("a line\r");
    screen.sees("got a line\r\n");
    screen.sees("ready> ");
    screen.types("echo status $?\r");
    screen.sees("status 3\r\n");
    screen.types("exit\r");
    assert_eq!(screen.ends().0.code(), Some(0));
}

#[test]
fn a_job_in_the_background_writes_and_its_status_is_waited_for() {
    let domain = Domain::new();
    let mut screen = Screen::shell(&domain);
    screen.types(
        "placet run -- sh -c 'echo one; sleep 0.3; echo two; exit 5' & wait $!; echo status $?\r",
    );
    screen.sees("one\r\n");
    screen.sees("two\r\n");
    screen.sees("status 5\r\n");
    // Stopped and continued from outside.
    screen.types("placet run -- sh -c 'while sleep 0.1; do echo tick; done' & \r");
    screen.sees("tick\r\n");
    screen.types("kill -STOP %1; sleep 0.5\r");
    screen.sees("Stopped");
    thread::sleep(Duration::from_millis(800));
    screen.types("echo mark''ed\r");
    screen.sees("marked\r\n");
    thread::sleep(Duration::from_secs(4));
    assert!(
        !screen.rest().contains("tick"),
        "it went on: {}",
        screen.rest()
    );
    screen.types("kill -CONT %1\r");
    screen.sees("tick\r\n");
    screen.types("kill %1; wait %1; echo status $?\r");
    screen.sees("status 143\r\n");
    screen.types("exit\r");
    assert_eq!(screen.ends().0.code(), Some(0));
}

#[test]
fn a_governed_shell_controls_jobs_of_its_own() {
    let domain = Domain::new();
    let mut screen = Screen::placet(
        &domain,
        &["run", "--", "bash", "--norc", "--noprofile", "-i"],
    );
    screen.sees("bash-");
    screen.types("PS1='in> '\r");
    screen.sees("\r\n");
    screen.sees("in> ");
    screen.types("sleep 600\r");
    screen.sees("600\r\n");
    thread::sleep(Duration::from_millis(300));
    screen.types("\x1a");
    screen.sees("Stopped");
    screen.sees("in> ");
    screen.types("bg; jobs\r");
    screen.sees("Running");
    screen.types("kill %1; wait; fg\r");
    screen.sees("in> ");
    screen.types("echo at cat; cat\r");
    screen.sees("at cat\r\n");
    screen.types("echoed\r");
    screen.sees("echoed\r\nechoed\r\n");
    screen.types("\x03");
    screen.sees("in> ");
    screen.types("exit 6\r");
    assert_eq!(screen.ends().0.code(), Some(6));
}
