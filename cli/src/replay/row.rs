//! The parts of one shard, played one after the other.

use super::line::Teller;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use whimbrel_core::recording::{PART_NUMBER_MAX, Replay as Player, ReplayError, Stop, part_number};
use whimbrel_core::time::Timestamp;

/// Parts of one shard, each with its number if its name says one, oldest first.
pub(super) type Parts = VecDeque<(Option<u64>, PathBuf)>;

/// The parts of one shard that are still to be played, and the one that is being played.
pub(super) struct Row<'a> {
    parts: Parts,
    /// Only of this client.
    client: Option<&'a str>,
    /// The part that is being played, or was the last one.
    pub(super) open: Option<Open<'a>>,
    /// Steps of the parts before it.
    steps: u64,
    /// Nothing more is played of it.
    pub(super) is_over: bool,
    /// Nothing was recorded here any more, although the process went on.
    pub(super) has_lapsed: bool,
    /// The number of the last part there was.
    number: Option<u64>,
    /// The processes that recorded what was played.
    pub(super) processes: Vec<u64>,
    /// How many parts the last process had given up when the last part began.
    parts_given_up: u64,
    /// There was a part of which nobody can say which process it is of.
    pub(super) has_unknown: bool,
    /// Parts without their ends, or with nothing at all: they are of a process that was killed, if
    /// the next part is of another one.
    cut: Vec<Cut>,
}

/// A part of which something is missing, or all.
#[derive(Debug)]
struct Cut {
    /// Which one, and what of it is there.
    name: String,
    /// What is wrong if the process was not killed, where that is more than that the end is
    /// missing.
    otherwise: Option<String>,
}

/// The part that is being played.
pub(super) struct Open<'a> {
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) player: Player,
    pub(super) teller: Teller<'a>,
    /// What is to be added to the broker's clock, wrapping: see
    /// [`Timeline`](super::timeline::Timeline).
    offset: u64,
    /// It was said that it begins.
    pub(super) has_begun: bool,
    /// Another process had recorded what came before, if anything did.
    pub(super) is_new_process: bool,
    /// The last step up to which all is known to be the same.
    pub(super) same_step: u64,
    /// Explanations that found no room.
    pub(super) lost: u64,
}

/// What was found when a part was to be opened.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// What is missing or damaged.
    pub(super) defects: Vec<String>,
    /// Parts that end as they do when the process is killed.
    pub(super) killed: Vec<String>,
}

impl<'a> Row<'a> {
    pub(super) const fn new(parts: Parts, client: Option<&'a str>) -> Self {
        Self {
            parts,
            client,
            open: None,
            steps: 0,
            is_over: false,
            has_lapsed: false,
            number: None,
            processes: Vec::new(),
            parts_given_up: 0,
            has_unknown: false,
            cut: Vec::new(),
        }
    }

    /// How many steps were played.
    pub(super) fn steps(&self) -> u64 {
        let open = self.open.as_ref();
        self.steps + open.map_or(0, |open| open.player.step_count())
    }

    /// Ends the part that is open, which may be damaged.
    pub(super) fn close(&mut self, error: Option<ReplayError>, findings: &mut Findings) {
        let Some(open) = &self.open else {
            return;
        };
        if let Some(error) = error {
            let why = format!(
                "{}: {error}; the rest of this part is not played",
                open.name
            );
            findings.defects.push(why);
        } else if open.player.stop() == Some(Stop::CutOff) {
            self.cut.push(Cut::of(open.name.clone()));
        }
    }

    /// Opens the next part that can be played. Which [time](Open::place) it is there is not known
    /// yet.
    pub(super) fn open_next(&mut self, findings: &mut Findings) -> Option<Open<'a>> {
        while let Some((number, path)) = self.parts.pop_front() {
            let name = path.display().to_string();
            let part = std::fs::read(&path);
            if let Some(number) = number {
                self.check_number(number, &path, findings);
            }
            let part = match part {
                Ok(part) => part,
                Err(error) => {
                    findings
                        .defects
                        .push(format!("cannot read {name}: {error}"));
                    continue;
                }
            };
            // Whoever is killed may have begun a part with nothing in it.
            let is_whole = part_number(&part).is_some();
            match number.map_or(Inside::This, |number| inside(number, &part)) {
                Inside::This => {}
                Inside::Older(inside) => {
                    self.cut.push(Cut {
                        name: format!("{name} (only what was written as part {inside} is in it)"),
                        otherwise: Some(not_played(&name, inside)),
                    });
                    continue;
                }
                Inside::Later(inside) => {
                    findings.defects.push(not_played(&name, inside));
                    continue;
                }
                Inside::Unknown => {
                    let why = format!("{name} is not played: it has a damaged beginning");
                    findings.defects.push(why);
                    continue;
                }
            }
            let player = match Player::new(&part) {
                Ok(player) => player,
                Err(ReplayError::NoBeginning) => {
                    self.has_unknown = true;
                    let what = match is_whole {
                        true => format!("{name} (nothing of it can be played)"),
                        false => format!("{name} (nothing is in it)"),
                    };
                    self.cut.push(Cut::of(what));
                    continue;
                }
                Err(error) => {
                    findings.defects.push(format!("{name}: {error}"));
                    continue;
                }
            };
            let process = player.process();
            let is_new_process = self.processes.last() != Some(&process);
            if is_new_process {
                self.check_end(findings);
            } else if self.cut.is_empty() && player.parts_given_up() > self.parts_given_up {
                findings.defects.push(format!(
                    "before {name} something is missing: the disk did not keep up, or the state \
                     was too large"
                ));
            }
            self.settle(process, &name, findings);
            if is_new_process {
                self.processes.push(process);
            }
            self.parts_given_up = player.parts_given_up();
            let mut teller = Teller::new(player.shard(), self.client);
            teller.begin(&player);
            return Some(Open {
                name,
                path,
                teller,
                offset: 0,
                has_begun: false,
                player,
                is_new_process,
                same_step: 0,
                lost: 0,
            });
        }
        self.is_over = true;
        self.has_lapsed = self.check_end(findings);
        findings
            .killed
            .extend(self.cut.drain(..).map(|cut| cut.name));
        None
    }

    /// Plays this part from now on.
    pub(super) fn play(&mut self, open: Open<'a>) {
        self.steps = self.steps();
        self.open = Some(open);
    }

    /// The next part goes on behind a complete one: one of the same process, and at once. Whether
    /// it is missing.
    fn check_end(&self, findings: &mut Findings) -> bool {
        if let Some(open) = &self.open
            && self.cut.is_empty()
            && open.player.stop() == Some(Stop::Complete)
        {
            findings.defects.push(format!(
                "what comes behind {} is missing: the state was too large, or the process was \
                 killed at that moment",
                open.name
            ));
            return true;
        }
        false
    }

    /// All parts from the first one there is on should be there.
    fn check_number(&mut self, number: u64, path: &Path, findings: &mut Findings) {
        let before = self.number.replace(number);
        let Some(first) = before
            .map(|before| before + 1)
            .filter(|first| *first != number)
        else {
            return;
        };
        let named = |number: u64| path.with_extension(format!("{number:06}"));
        findings.defects.push(match number - first {
            1 => format!("{} is missing", named(first).display()),
            _ => format!(
                "{} to {:06} are missing",
                named(first).display(),
                number - 1
            ),
        });
    }

    /// Says of parts without their ends what that means, now that the next one is known.
    fn settle(&mut self, process: u64, next: &str, findings: &mut Findings) {
        for Cut { name, otherwise } in self.cut.drain(..) {
            // Of what is before all that can be played nobody knows whether there was a kill.
            let is_known = !self.processes.is_empty() || otherwise.is_none();
            if is_known && self.processes.last() != Some(&process) {
                findings.killed.push(name);
                continue;
            }
            findings.defects.push(otherwise.unwrap_or_else(|| {
                format!(
                    "the end of {name} is missing, and the process has gone on: what happened \
                     before {next} is not known. The disk did not keep up, or the file was cut"
                )
            }));
        }
    }
}

impl Cut {
    const fn of(name: String) -> Self {
        Self {
            name,
            otherwise: None,
        }
    }
}

/// Which part is in a file.
enum Inside {
    /// The one that its name says, or none: what it is comes out when it is opened.
    This,
    /// An earlier one. A file of the ring gets its new name before what is in it is written over,
    /// and whoever is killed between the two leaves it like that.
    Older(u64),
    /// A later one: nothing but a hand does that.
    Later(u64),
    /// The mark is damaged.
    Unknown,
}

fn inside(number: u64, part: &[u8]) -> Inside {
    match part_number(part) {
        None => Inside::This,
        Some(inside) if inside == number => Inside::This,
        Some(inside) if inside < number => Inside::Older(inside),
        Some(inside) if inside <= PART_NUMBER_MAX => Inside::Later(inside),
        Some(_) => Inside::Unknown,
    }
}

fn not_played(name: &str, inside: u64) -> String {
    format!("{name} is not played: it was written as part {inside}, and renamed or copied")
}

impl Open<'_> {
    /// What is to be added to the broker's clock is known now.
    pub(super) const fn place(&mut self, offset: u64) {
        self.offset = offset;
    }

    /// What time it is, of the [`Timeline`](super::timeline::Timeline).
    pub(super) const fn now(&self) -> u64 {
        self.at(self.player.now().monotonic)
    }

    pub(super) const fn at(&self, time: Timestamp) -> u64 {
        self.offset.wrapping_add(time.0)
    }

    /// Times are told from the beginning on.
    pub(super) const fn begins(&mut self, began: u64) {
        self.teller.set_offset(self.offset.wrapping_sub(began));
    }
}
