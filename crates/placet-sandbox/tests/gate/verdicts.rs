//! Asking the supervisor.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use placet_sandbox::{ExecReport, ExecRule, ExecVerdict, Gate, Refusal, RunningCell, Status};

use crate::programs::{shell, tiny, with_programs};
use crate::support::{Test, scratch};
use crate::{KILLED, SUCCESS, eventually, gated, refusals, report_of, run, start, text};

pub(crate) const TESTS: &[Test] = &[
    ("an_allowed_exec_goes_on", || {
        answered(ExecVerdict::Allow, SUCCESS)
    }),
    ("a_refused_exec_is_killed", || {
        answered(ExecVerdict::Refuse, KILLED)
    }),
    ("an_unanswered_exec_is_killed", an_unanswered_exec),
    (
        "the_rest_of_the_tree_goes_on_meanwhile",
        the_rest_of_the_tree,
    ),
    (
        "an_answer_to_a_process_that_is_gone_changes_nothing",
        an_answer_too_late,
    ),
    ("the_first_program_is_not_asked_about", || {
        let spec = crate::support::acting_spec("exit", &["0"]);
        let (status, reports) = run(gated(spec, ask(Duration::ZERO)));
        assert_eq!((status, reports.len()), (SUCCESS, 1));
    }),
    (
        "the_interpreter_of_a_first_script_is_asked_about",
        the_interpreter_of_a_first_script,
    ),
    ("the_client_is_not_asked_about", || {
        let dir = scratch();
        let client = tiny(dir.path(), "client", 0);
        let mut spec = crate::support::acting_spec("spawn", &[crate::client::shown(&client)]);
        spec.client = Some(client);
        let (status, reports) = run(gated(spec, ask(Duration::ZERO)));
        assert_eq!((status, reports.len()), (SUCCESS, 2));
    }),
    ("a_waiting_exec_ends_with_its_tree", a_waiting_exec_ends),
    ("many_wait_at_once", many_wait_at_once),
];

const LONG: Duration = Duration::from_secs(60);

fn ask(patience: Duration) -> ExecRule {
    ExecRule::Ask { patience }
}

fn gate_of(cell: &RunningCell) -> Gate {
    cell.gate().unwrap().clone()
}

fn answered(verdict: ExecVerdict, expected: Status) {
    let dir = scratch();
    let program = tiny(dir.path(), "program", 0);
    let spec = with_programs("spawn", &[text(&program)], dir.path());
    let mut cell = start(gated(spec, ask(LONG)));
    let gate = gate_of(&cell);
    let ExecReport::Asked(call) = report_of(&gate, |report| matches!(report, ExecReport::Asked(_)))
    else {
        panic!("not asked");
    };
    assert_eq!(call.image.as_ref().unwrap().path, program);
    // It is there, stopped, and stays so.
    let left = Duration::from_millis(50);
    assert_eq!(cell.next_change(Some(left)).unwrap(), None);
    assert!(gate.answer(call.id, verdict));
    assert!(!gate.answer(call.id, ExecVerdict::Allow));
    assert_eq!(cell.wait().unwrap().status, expected);
    let told = gate.reports();
    assert_eq!(told.len(), 1);
    match (&told[0], verdict) {
        (ExecReport::Started(same), ExecVerdict::Allow) => assert_eq!(same.id, call.id),
        (ExecReport::Refused { call: same, why }, ExecVerdict::Refuse) => {
            assert_eq!((same.id, *why), (call.id, Refusal::Denied));
        }
        other => panic!("{other:?}"),
    }
}

fn an_unanswered_exec() {
    let dir = scratch();
    let program = tiny(dir.path(), "program", 0);
    let spec = with_programs("spawn", &[text(&program)], dir.path());
    let begin = Instant::now();
    let (status, reports) = run(gated(spec, ask(Duration::from_millis(200))));
    assert_eq!(status, KILLED);
    assert!(begin.elapsed() >= Duration::from_millis(200));
    let (call, why) = refusals(&reports).next().unwrap();
    assert_eq!(why, Refusal::Unanswered);
    assert_eq!(call.image.as_ref().unwrap().path, program);
}

/// Forks, waits and exits go on while an exec of the same tree waits.
fn the_rest_of_the_tree() {
    let dir = scratch();
    let program = tiny(dir.path(), "program", 0);
    let forks = "i=0; while [ $i -lt 200 ]; do (:); i=$((i+1)); done";
    let mut spec = shell(&format!("{} & {forks}; kill $!; exit 5", text(&program)));
    spec.paths.exec.push(dir.path().to_path_buf());
    let begin = Instant::now();
    let (status, reports) = run(gated(spec, ask(LONG)));
    assert_eq!(status, Status::Exited(5));
    assert_eq!(reports.len(), 2);
    println!("200 forks beside a waiting exec: {:?}", begin.elapsed());
    assert!(begin.elapsed() < Duration::from_secs(10));
}

fn an_answer_too_late() {
    let dir = scratch();
    let program = tiny(dir.path(), "program", 0);
    let mut spec = shell(&format!(
        "{} & wait $!; [ $? = 137 ] && exit 5",
        text(&program)
    ));
    spec.paths.exec.push(dir.path().to_path_buf());
    let mut cell = start(gated(spec, ask(LONG)));
    let gate = gate_of(&cell);
    let asked = report_of(&gate, |report| matches!(report, ExecReport::Asked(_)));
    let ExecReport::Asked(call) = asked else {
        panic!("not asked");
    };
    // SAFETY: the process was stopped at its first instruction and nobody has reaped it.
    unsafe { libc::kill(call.pid as i32, libc::SIGKILL) };
    assert_eq!(cell.wait().unwrap().status, Status::Exited(5));
    assert!(!gate.answer(call.id, ExecVerdict::Allow));
    assert_eq!(gate.reports().len(), 0);
}

/// A script is executed by its path, which could lead elsewhere by then.
fn the_interpreter_of_a_first_script() {
    let dir = scratch();
    let script = dir.path().join("script");
    std::fs::write(&script, "#!/bin/sh\nexit 5\n").unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut spec = crate::support::spec(&script, vec!["script".into()]);
    spec.paths.exec.push("/usr/bin".into());
    let interpreter = placet_sandbox::elf_interpreter(Path::new("/bin/sh")).unwrap();
    let interpreter = std::fs::canonicalize(interpreter.unwrap()).unwrap();
    spec.paths.exec.push(interpreter);
    let mut cell = start(gated(spec, ask(LONG)));
    let gate = gate_of(&cell);
    let asked = report_of(&gate, |report| matches!(report, ExecReport::Asked(_)));
    let ExecReport::Asked(call) = asked else {
        panic!("not asked");
    };
    assert_eq!(call.script.as_ref().unwrap().path, script);
    assert!(gate.answer(call.id, ExecVerdict::Allow));
    assert_eq!(cell.wait().unwrap().status, Status::Exited(5));
}

fn a_waiting_exec_ends() {
    let dir = scratch();
    let program = tiny(dir.path(), "program", 0);
    let spec = with_programs("spawn", &[text(&program)], dir.path());
    let mut cell = start(gated(spec, ask(LONG)));
    let gate = gate_of(&cell);
    report_of(&gate, |report| matches!(report, ExecReport::Asked(_)));
    let begin = Instant::now();
    cell.terminate().unwrap();
    assert!(begin.elapsed() < Duration::from_secs(1));
}

fn many_wait_at_once() {
    const MANY: usize = 300;
    let dir = scratch();
    let program = tiny(dir.path(), "program", 0);
    let script = format!(
        "i=0; while [ $i -lt {MANY} ]; do {} & i=$((i+1)); done; wait",
        text(&program)
    );
    let mut spec = shell(&script);
    spec.paths.exec.push(dir.path().to_path_buf());
    let mut cell = start(gated(spec, ask(LONG)));
    let gate = gate_of(&cell);
    let (mut asked, mut started) = (Vec::new(), 0);
    eventually("all questions", || {
        for report in gate.reports() {
            match report {
                ExecReport::Asked(call) => asked.push(call.id),
                ExecReport::Started(_) => started += 1,
                ExecReport::Refused { .. } => panic!("{report:?}"),
            }
        }
        asked.len() == MANY
    });
    assert!(asked.iter().all(|id| gate.answer(*id, ExecVerdict::Allow)));
    while cell.try_wait().unwrap().is_none() {
        started += gate.reports().len();
        std::thread::sleep(Duration::from_millis(1));
    }
    started += gate.reports().len();
    assert_eq!(started, MANY + 1);
}
