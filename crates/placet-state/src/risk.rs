//! The risk score: a plain sum of named factors, so that anyone can add it up again.

use placet_evidence::{History, Risk};

/// A factor: its name, its points, and when it counts.
struct Factor {
    name: &'static str,
    points: u32,
    counts: fn(&History) -> bool,
}

/// In order of their names. Points are summed and capped at 100.
const FACTORS: &[Factor] = &[
    Factor {
        name: "burst",
        points: 20,
        counts: |h| h.permits_hour >= 1000,
    },
    Factor {
        name: "denial_streak",
        points: 25,
        counts: |h| h.denial_streak >= 3,
    },
    Factor {
        name: "denial_streak_long",
        points: 40,
        counts: |h| h.denial_streak >= 10,
    },
    Factor {
        name: "denials_hour",
        points: 15,
        counts: |h| h.denials_hour >= 20,
    },
    Factor {
        name: "many_running",
        points: 10,
        counts: |h| h.running >= 64,
    },
    Factor {
        name: "new_resource",
        points: 5,
        counts: |h| !h.seen_resource,
    },
];

pub(crate) fn score(history: &History) -> Risk {
    let counting = || FACTORS.iter().filter(|factor| (factor.counts)(history));
    Risk {
        factors: counting().map(|factor| factor.name.to_owned()).collect(),
        score: counting().map(|factor| factor.points).sum::<u32>().min(100),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_score_is_the_sum_of_its_factors() {
        let calm = History {
            seen_resource: true,
            ..History::default()
        };
        assert_eq!(score(&calm), Risk::default());
        let bad = History {
            denial_streak: 12,
            denials_hour: 30,
            running: 70,
            ..calm
        };
        let risk = score(&bad);
        assert_eq!(risk.score, 90);
        assert_eq!(
            risk.factors,
            [
                "denial_streak",
                "denial_streak_long",
                "denials_hour",
                "many_running"
            ]
        );
        assert!(risk.factors.is_sorted());
    }
}
