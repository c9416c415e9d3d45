//! Answers to questions, drafted as decisions are.

use placet_evidence::Record;
use placet_types::{Commitment, Index, Millis, Question, Salt};

use super::Drafter;
use crate::payload::encode_payload;
use crate::questions::Asked;
use crate::submission::Unavailable;
use crate::work::{self, Draft, PreparedQuestion, Reply, Then};

impl Drafter {
    pub(super) fn answer(
        &mut self,
        prepared: &PreparedQuestion,
        now: Millis,
        reply: Reply<Asked>,
    ) -> Option<Draft> {
        let asking = prepared.asking(&self.state, self.policy.as_deref(), now);
        let Some(answer) = placet_decision::answer(&asking) else {
            work::answer(reply, Err(Unavailable::Evidence));
            return None;
        };
        let asked = Asked {
            index: Index::default(),
            outcome: answer.outcome(),
            denial: answer.denial().cloned(),
        };
        let question = Commitment::to(Question::LABEL, &prepared.bytes, &prepared.salt);
        let record = answer.into_record(&asking, question, prepared.found);
        Some(Draft {
            record: Record::Answered(Box::new(record)),
            payload: Some(encode_payload(&prepared.salt, &prepared.bytes)),
            then: Then::Answered { reply, asked },
        })
    }
}

/// The question beside an answer: what hides it, its bytes, and what they say.
pub(crate) fn decode_question(bytes: &[u8]) -> Option<(Salt, Vec<u8>, Question)> {
    let (salt, bytes) = bytes.split_first_chunk::<32>()?;
    let question = Question::decode(bytes).ok()?;
    Some((Salt::new(*salt), bytes.to_vec(), question))
}
