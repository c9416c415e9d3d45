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
        name: "drifted",
        points: 20,
        counts: |h| h.drifts_hour >= 1,
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
    Factor {
        name: "refusals_hour",
        points: 15,
        counts: |h| refusals(h) >= 50,
    },
    Factor {
        name: "tripped",
        points: 25,
        counts: |h| h.trips_hour >= 1,
    },
];

/// What the kernel and the gateway refused to what it had running.
fn refusals(history: &History) -> u64 {
    [
        history.refused_connects_hour,
        history.refused_execs_hour,
        history.refused_reads_hour,
        history.refused_writes_hour,
    ]
    .into_iter()
    .fold(0, u64::saturating_add)
}

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

    #[test]
    fn behaviour_of_what_ran_counts_and_every_factor_is_in_order() {
        let seen = History {
            seen_resource: true,
            ..History::default()
        };
        let watched = History {
            drifts_hour: 1,
            refused_connects_hour: 20,
            refused_reads_hour: 30,
            trips_hour: 2,
            ..seen
        };
        let risk = score(&watched);
        assert_eq!(risk.score, 60);
        assert_eq!(risk.factors, ["drifted", "refusals_hour", "tripped"]);
        assert!(FACTORS.is_sorted_by_key(|factor| factor.name));
    }
}
