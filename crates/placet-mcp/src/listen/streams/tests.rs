use super::*;

fn asked(id: &str) -> Asked {
    Asked {
        id: OwnedId::text(id),
        original: None,
        token: None,
    }
}

fn heard(streams: &mut Streams, reader: &mut Reader) -> Vec<String> {
    let mut all = Vec::new();
    while let Next::Event(text) = streams.next(reader, Waker::noop()) {
        all.push(text);
    }
    all
}

#[test]
fn a_stream_that_broke_is_taken_up_after_the_last_event_that_came() {
    let mut streams = Streams::default();
    let mut first = streams.open(asked("a")).unwrap();
    streams.say(first.stream, "one".into(), false);
    assert_eq!(heard(&mut streams, &mut first), ["id: 1-1\ndata: one\n\n"]);
    let place = first.after;
    streams.left(&first);
    streams.say(first.stream, "two".into(), false);
    let (number, _) = streams.answered(&OwnedId::text("a")).unwrap();
    streams.say(number, "three".into(), true);
    let mut again = streams.take_up(first.stream, Some(place)).unwrap();
    let all = heard(&mut streams, &mut again);
    assert_eq!(all, ["id: 1-2\ndata: two\n\n", "id: 1-3\ndata: three\n\n"]);
    assert_eq!(streams.next(&mut again, Waker::noop()), Next::Over);
    // Twice is as good: the answer is still kept. What never was is not.
    let mut third = streams.take_up(first.stream, Some(0)).unwrap();
    assert_eq!(heard(&mut streams, &mut third).len(), 3);
    assert_eq!(
        streams.take_up(first.stream, Some(4)),
        Err(NoStream::Unknown)
    );
    assert_eq!(streams.take_up(77, Some(0)), Err(NoStream::Unknown));
}

#[test]
fn one_reader_takes_a_stream_over_and_the_other_hears_no_more() {
    let mut streams = Streams::default();
    let mut first = streams.take_up(OWN, None).unwrap();
    assert_eq!(streams.take_up(OWN, None), Err(NoStream::Heard));
    streams.say(OWN, "one".into(), false);
    assert_eq!(heard(&mut streams, &mut first).len(), 1);
    let mut second = streams.take_up(OWN, Some(1)).unwrap();
    streams.say(OWN, "two".into(), false);
    assert_eq!(streams.next(&mut first, Waker::noop()), Next::Over);
    assert_eq!(heard(&mut streams, &mut second).len(), 1);
    // The first one's leaving does not silence the second.
    streams.left(&first);
    assert_eq!(streams.take_up(OWN, None), Err(NoStream::Heard));
}

#[test]
fn an_id_is_open_once_and_streams_are_bounded() {
    let mut streams = Streams::default();
    streams.open(asked("a")).unwrap();
    assert_eq!(streams.open(asked("a")), Err(NoStream::InUse));
    for at in 1..STREAMS_MAX {
        streams.open(asked(&at.to_string())).unwrap();
    }
    assert_eq!(streams.open(asked("more")), Err(NoStream::TooMany));
    assert!(streams.answered(&OwnedId::text("a")).is_some());
    assert!(streams.answered(&OwnedId::text("a")).is_none());
    streams.say(1, "done".into(), true);
    // What is done makes room.
    assert!(streams.open(asked("more")).is_ok());
    assert_eq!(streams.all.len(), STREAMS_MAX + 1);
}

#[test]
fn what_is_kept_is_bounded_and_a_reader_is_waited_for() {
    let mut streams = Streams::default();
    let mut reader = streams.open(asked("a")).unwrap();
    let big = "x".repeat(KEPT_BYTES_MAX / 4);
    for _ in 0..5 {
        streams.say(reader.stream, big.clone(), false);
    }
    assert!(!streams.make_room(), "somebody hears it and has not read");
    for _ in 0..3 {
        streams.next(&mut reader, Waker::noop());
    }
    assert!(streams.make_room());
    assert!(streams.bytes <= KEPT_BYTES_MAX);
    // Where nobody hears, the oldest go, and it cannot be taken up from there.
    streams.left(&reader);
    for _ in 0..9 {
        streams.say(reader.stream, big.clone(), false);
        assert!(streams.make_room());
    }
    assert!(streams.bytes <= KEPT_BYTES_MAX);
    assert_eq!(
        streams.take_up(reader.stream, Some(3)),
        Err(NoStream::Unknown)
    );
    assert!(streams.take_up(reader.stream, Some(13)).is_ok());
}

#[test]
fn what_answers_nothing_goes_where_its_client_hears_it() {
    let mut streams = Streams::default();
    let nobody = |_: &Asked| false;
    assert_eq!(streams.related(nobody), OWN);
    let a = streams.open(asked("a")).unwrap();
    assert_eq!(streams.related(nobody), a.stream);
    let b = streams.open(asked("b")).unwrap();
    assert_eq!(streams.related(nobody), b.stream);
    let own = streams.take_up(OWN, None).unwrap();
    assert_eq!(streams.related(nobody), OWN);
    let of_a = |asked: &Asked| asked.id == OwnedId::text("a");
    assert_eq!(streams.related(of_a), a.stream);
    streams.left(&own);
    assert_eq!(streams.give_up(a.stream), Some(OwnedId::text("a")));
    assert_eq!(streams.give_up(a.stream), None);
    assert_eq!(streams.related(nobody), b.stream);
}
