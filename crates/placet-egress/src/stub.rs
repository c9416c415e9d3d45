//! The DNS stub of a cell: answers for the names in scope, and pins what it answers.
//!
//! A name outside of the scope goes no further than here: nothing about it is asked anywhere. Of the names below one
//! of the scope, which the tree makes up, a bounded number is asked about; and where each peer is decided about, none
//! before a peer of that name is permitted.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;

use placet_sandbox::is_special;
use placet_types::HostName;
use rustix::event::{PollFd, PollFlags, poll};

use crate::dns::{self, Code, Kind, MESSAGE_BYTES_MAX, Question};
use crate::proxy::{Decided, Shared};
use crate::reach::Refused;
use crate::report::{Event, Way, host_text};
use crate::resolve::{Found, May};

/// Serves until everything ends.
pub(crate) fn serve(shared: &Arc<Shared>, questions: &UdpSocket) {
    let Ok(answers) = questions.try_clone().map(Arc::new) else {
        return;
    };
    // One byte more than is read: what fills it is too long.
    let mut message = [0u8; MESSAGE_BYTES_MAX + 1];
    while !shared.is_closing() {
        let mut polled = [
            PollFd::new(questions, PollFlags::IN),
            PollFd::from_borrowed_fd(shared.bell(), PollFlags::IN),
        ];
        // An interrupted wait is a short one.
        poll(&mut polled, None).unwrap_or(0);
        if let Ok((len, from)) = questions.recv_from(&mut message)
            && let Some(question) = dns::read(message.get(..len).unwrap_or_default())
        {
            take(shared, &answers, question, from);
        }
    }
}

fn take(shared: &Arc<Shared>, answers: &Arc<UdpSocket>, question: Question, from: SocketAddr) {
    let asked = question.name.clone();
    let in_scope = asked.filter(|name| !shared.reach.ports_of(name).is_empty());
    let Some(name) = in_scope else {
        if let Some(name) = &question.name {
            shared
                .events
                .offer(refused(name.as_str(), Refused::UnlistedName));
        }
        return tell(answers, &question, from, Code::Refused, &[]);
    };
    if question.kind == Kind::Other {
        return tell(answers, &question, from, Code::Found, &[]);
    }
    if !shared.may_look_up(&name) {
        let event = refused(name.as_str(), Refused::TooManyNames);
        shared.events.offer(event);
        return tell(answers, &question, from, Code::Refused, &[]);
    }
    let may = permitted(shared, &name);
    let again = question.clone();
    let (to, within) = (Arc::clone(answers), Arc::clone(shared));
    let asked_for = name.clone();
    let asked = shared.resolver.ask_if(
        name,
        may,
        Box::new(move |found| {
            let (code, addresses) = judge(&within, &asked_for, found);
            tell(&to, &question, from, code, &addresses);
        }),
    );
    if !asked {
        tell(answers, &again, from, Code::Failed, &[]);
    }
}

/// Whether a name may be asked about: where each peer is decided about and it is not named itself, once a peer of it is
/// permitted, at the first port that it is named with.
fn permitted(shared: &Arc<Shared>, name: &HostName) -> May {
    let ports = shared.reach.ports_of(name);
    let first = ports.iter().map(|range| *range.start()).min();
    let Some(port) = first.filter(|_| shared.decides() && !shared.reach.is_named_itself(name))
    else {
        return Box::new(|| true);
    };
    let (within, host) = (Arc::clone(shared), host_text(name.as_str()));
    Box::new(move || {
        let why = match within.decide(host.clone(), port) {
            Decided::Allowed => return true,
            Decided::Over => return false,
            Decided::Denied => Refused::Denied,
            Decided::Unanswered => Refused::Unanswered,
        };
        within.events.offer(refused(&host, why));
        false
    })
}

/// What may be told of what a name leads to.
fn judge(shared: &Shared, name: &HostName, found: Found) -> (Code, Vec<IpAddr>) {
    let found = match found {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return (Code::Refused, Vec::new());
        }
        Err(_) => return (Code::Failed, Vec::new()),
    };
    let ports = shared.reach.ports_of(name);
    let (mut told, all) = (Vec::new(), found.len());
    for address in found {
        if !is_special(address) {
            shared.pin(address, name);
            told.push(address);
        } else if shared.reach.covers_at_any(address, &ports) {
            // The broker's own list covers it there.
            told.push(address);
        }
    }
    if told.is_empty() && all > 0 {
        let event = refused(name.as_str(), Refused::LeadsInside);
        shared.events.offer(event);
        return (Code::Refused, told);
    }
    (Code::Found, told)
}

fn refused(name: &str, why: Refused) -> Event {
    Event::Refused {
        way: Way::Dns,
        host: host_text(name),
        port: 0,
        why,
    }
}

fn tell(
    answers: &UdpSocket,
    question: &Question,
    to: SocketAddr,
    code: Code,
    addresses: &[IpAddr],
) {
    // One that does not arrive is asked for again.
    answers
        .send_to(&question.answer(code, addresses), to)
        .unwrap_or(0);
}
