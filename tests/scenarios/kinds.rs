//! Commands of each callback, by a plan. What a round does besides, the world says: see [`obey`].

use coco_core::LARGEST_VALUE;
use coco_core::callback::StartsChildren;
use coco_core::prelude::*;
use serde::{Deserialize, Serialize};

use super::leaves::{Fragile, Mark};
use super::sagas::{Brittle, Keep, Part, Saga, hook};
use super::world::World;

/// What a command of a kind starts.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub(crate) enum Kid {
    Mark(String),
    Fragile(String),
    Keep(String),
    Brittle(String),
    Fan(Fan),
    Stages(Stages),
    Watch(Watch),
    Own(Own),
    Line(Line),
    Saga(Vec<Part>),
}

pub(crate) fn keeps(labels: &[&str]) -> Vec<Kid> {
    labels.iter().map(|label| Kid::Keep((*label).to_owned())).collect()
}

pub(crate) fn start<C: Command>(cx: &Context<C>, kid: Kid)
where
    C::Callback: StartsChildren,
{
    match kid {
        Kid::Mark(label) => _ = cx.start(Mark { label }),
        Kid::Fragile(label) => _ = cx.start(Fragile { label }),
        Kid::Keep(label) => _ = cx.start(Keep { label }),
        Kid::Brittle(label) => _ = cx.start(Brittle { label }),
        Kid::Fan(fan) => _ = cx.start(fan),
        Kid::Stages(steps) => _ = cx.start(steps),
        Kid::Watch(watch) => _ = cx.start(watch),
        Kid::Own(own) => _ = cx.start(own),
        Kid::Line(line) => _ = cx.start(line),
        Kid::Saga(plan) => _ = cx.start(Saga { plan }),
    }
}

/// What the word of the world for this part of a command said, beside what it did.
#[derive(Default)]
pub(crate) struct Orders {
    /// What the answer is.
    pub(crate) is_ready: Option<bool>,
    /// What is to be started.
    pub(crate) starts: Vec<Kid>,
}

/// Does what the world says of `of`, in turn: `ready`, `pending`, `fail …`, `panic …`, `log …` into
/// the fields, `say …` into the output, `start …`, `large log`, `large output`, `wait` at its gate.
pub(crate) async fn obey(
    world: &World,
    of: &str,
    log: &mut Vec<String>,
    output: &mut Vec<String>,
) -> Result<Orders> {
    let mut orders = Orders::default();
    let word = world.word(of).unwrap_or_default();
    for order in word.split(", ").filter(|order| !order.is_empty()) {
        let (what, more) = order.split_once(' ').unwrap_or((order, ""));
        match what {
            "ready" | "pending" => orders.is_ready = Some(what == "ready"),
            "fail" => return Err(Error::other(more.to_owned())),
            "panic" => panic!("{more}"),
            "log" => log.push(more.to_owned()),
            "say" => output.push(more.to_owned()),
            "start" => orders.starts.push(Kid::Keep(more.to_owned())),
            "large" if more == "log" => log.push("x".repeat(LARGEST_VALUE)),
            "large" => output.push("x".repeat(LARGEST_VALUE)),
            "wait" => world.pass(of).await,
            _ => panic!("no order: {order}"),
        }
    }
    Ok(orders)
}

/// The same in a round, of `<label> <how many rounds it had>`, or else of `<label> each`.
pub(crate) async fn obey_round<C: Command>(
    cx: &Context<C>,
    world: &World,
    label: &str,
    log: &mut Vec<String>,
    output: &mut Vec<String>,
) -> Result<Orders> {
    let round = format!("round {label}");
    world.note(cx.id(), &*round, 1);
    let this = format!("{label} {}", world.count(&round));
    world.pass(&round).await;
    let of = if world.is_said(&this) { this } else { format!("{label} each") };
    obey(world, &of, log, output).await
}

/// The commands of each kind, which differ in what comes after their `execute`. That starts the
/// first wave, where it can.
macro_rules! kinds {
    ($($(#[doc = $doc:literal])* $(#[command($($poll:tt)*)])? $kind:ident is $callback:ident: $first:expr;)*) => { $(
        $(#[doc = $doc])*
        #[derive(Command, Serialize, Deserialize, Clone, Debug)]
        #[command(callback = $callback, idempotent, needs(World) $(, $($poll)*)?)]
        pub(crate) struct $kind {
            pub(crate) label: String,
            pub(crate) waves: Vec<Vec<Kid>>,
            /// What has happened to it.
            pub(crate) log: Vec<String>,
        }

        impl $kind {
            pub(crate) fn new(label: &str, waves: impl Into<Vec<Vec<Kid>>>) -> Self {
                Self { label: label.to_owned(), waves: waves.into(), log: Vec::new() }
            }
        }

        impl Execute for $kind {
            type Output = Vec<String>;

            async fn execute(&mut self, cx: &Context<Self>) -> Result<Vec<String>> {
                let world = cx.get::<World>();
                world.note(cx.id(), &*self.label, cx.attempt());
                world.pass(&self.label).await;
                let mut output = Vec::new();
                let first: fn(&Context<Self>, &[Kid]) = $first;
                first(cx, self.waves.first().map_or(&[], Vec::as_slice));
                obey(world, &self.label, &mut self.log, &mut output).await?;
                self.log.push("executed".to_owned());
                Ok(output)
            }

            async fn end_successfully(
                &mut self,
                output: &Vec<String>,
                cx: &LeafContext<Self>,
            ) -> Result<()> {
                let (world, label) = (cx.get::<World>(), &self.label);
                let seen = format!("{label} at its end: {}; {}", self.log.join(","), output.join(","));
                world.note(cx.id(), seen, cx.hook_attempt());
                hook(cx, world, &format!("{label} ends well")).await
            }

            async fn end_with_failure(&mut self, _: &Failure, cx: &LeafContext<Self>) -> Result<()> {
                let (world, label) = (cx.get::<World>(), &self.label);
                let seen = format!("{label} at its end: {}", self.log.join(","));
                world.note(cx.id(), seen, cx.hook_attempt());
                hook(cx, world, &format!("{label} ends badly")).await
            }
        }
    )* };
}

kinds! {
    /// Starts its waves one after the other. Fails when a child has.
    Fan is ConcurrentChildren: |cx, first| first.iter().cloned().for_each(|kid| start(cx, kid));
    /// Starts all of its waves, one kid after the other, and ignores the failure of a kid `…` that
    /// says `… may fail`.
    #[command(poll(every = "1ms", max = "2ms"))]
    Stages is NextOperation: |_, _| {};
    /// Is polled once for each of its waves, which are empty, and then once more.
    #[command(poll(every = "1ms", max = "2ms"))]
    Watch is Polling: |_, _| {};
    /// As a fan, with a callback of its own.
    #[command(poll(every = "1ms", max = "2ms"))]
    Own is ByWaves: |cx, first| first.iter().cloned().for_each(|kid| start(cx, kid));
}

impl ConcurrentChildren for Fan {
    async fn children_ended(
        &mut self,
        output: &mut Vec<String>,
        outcomes: &Outcomes,
        cx: &Context<Self>,
    ) -> Result<()> {
        let orders = obey_round(cx, cx.get(), &self.label, &mut self.log, output).await?;
        output.push(format!("{} ended", outcomes.len()));
        outcomes.all_succeeded()?;
        orders.starts.into_iter().for_each(|kid| start(cx, kid));
        self.log.push("round".to_owned());
        let wave = self.log.iter().filter(|log| *log == "round").count();
        self.waves.get(wave).into_iter().flatten().for_each(|kid| start(cx, kid.clone()));
        Ok(())
    }
}

impl NextOperation for Stages {
    async fn perform_next_operation(
        &mut self,
        output: &mut Vec<String>,
        completed: &Outcomes,
        cx: &Context<Self>,
    ) -> Result<bool> {
        let orders = obey_round(cx, cx.get(), &self.label, &mut self.log, output).await?;
        let has_orders = !orders.starts.is_empty();
        orders.starts.into_iter().for_each(|kid| start(cx, kid));
        let next = self.waves.iter().flatten().nth(completed.len()).filter(|_| !has_orders);
        let goes_on = next.is_some() || has_orders;
        if let Some(kid) = next {
            self.log.push(format!("operation {}", completed.len()));
            start(cx, kid.clone());
        }
        output.push(format!("{} ended", completed.len()));
        Ok(orders.is_ready.map_or(goes_on, |is_ready| !is_ready))
    }

    fn ignore_child_failure(&mut self, failure: &Failure) -> bool {
        self.log.push(format!("asked about {}", failure.message));
        self.waves.iter().flatten().any(|kid| match kid {
            Kid::Keep(label) => failure.message == format!("{label} may fail"),
            _ => false,
        })
    }

    async fn handle_failure(&mut self, error: &Error, cx: &Context<Self>) -> Result<()> {
        let (world, label) = (cx.get::<World>(), &self.label);
        world.note(cx.id(), format!("round {label} handles {error}"), 1);
        let mut output = Vec::new();
        let of = format!("{label} handles");
        obey(world, &of, &mut self.log, &mut output).await?;
        Ok(())
    }
}

impl Polling for Watch {
    async fn poll(&mut self, output: &mut Vec<String>, cx: &Context<Self>) -> Result<Poll> {
        let orders = obey_round(cx, cx.get(), &self.label, &mut self.log, output).await?;
        let is_ready = orders.is_ready.unwrap_or_else(|| {
            self.log.push("polled".to_owned());
            output.push("polled".to_owned());
            self.log.iter().filter(|log| *log == "polled").count() > self.waves.len()
        });
        Ok(if is_ready { Poll::Ready } else { Poll::Pending })
    }
}

/// The callback of [`Own`].
pub(crate) struct ByWaves;

impl CommandCallback<Own> for ByWaves {
    async fn executed(own: &mut Own, output: &mut Vec<String>, cx: &Context<Own>) -> Result<()> {
        let of = format!("{} executed", own.label);
        let orders = obey(cx.get(), &of, &mut own.log, output).await?;
        orders.starts.into_iter().for_each(|kid| start(cx, kid));
        Ok(())
    }

    async fn do_polling(
        own: &mut Own,
        output: &mut Vec<String>,
        outcomes: &Outcomes,
        cx: &Context<Own>,
    ) -> Result<Poll> {
        let orders = obey_round(cx, cx.get(), &own.label, &mut own.log, output).await?;
        let has_orders = !orders.starts.is_empty();
        orders.starts.into_iter().for_each(|kid| start(cx, kid));
        if let Some(is_ready) = orders.is_ready {
            return Ok(if is_ready { Poll::Ready } else { Poll::Pending });
        }
        let wave = own.log.iter().filter(|log| *log == "wave").count();
        let started: usize = own.waves.iter().take(wave + 1).map(Vec::len).sum();
        if outcomes.len() < started || has_orders {
            return Ok(Poll::Pending);
        }
        outcomes.all_succeeded()?;
        own.log.push("wave".to_owned());
        output.push(format!("{} ended", outcomes.len()));
        let Some(next) = own.waves.get(wave + 1) else { return Ok(Poll::Ready) };
        next.iter().for_each(|kid| start(cx, kid.clone()));
        Ok(Poll::Pending)
    }
}

/// A flow over the kinds, one after the other.
#[derive(Command, Serialize, Deserialize, Clone, Debug)]
#[command(callback = SerialChildren)]
pub(crate) struct Line {
    pub(crate) kids: Vec<Kid>,
}

impl Execute for Line {
    type Output = Vec<String>;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<Vec<String>> {
        let mut output = Vec::new();
        for kid in self.kids.clone() {
            match kid {
                Kid::Mark(label) => output.push(cx.child(Mark { label }).await?),
                Kid::Fragile(label) => output.push(cx.child(Fragile { label }).await?),
                Kid::Keep(label) => output.push(cx.child(Keep { label }).await?),
                Kid::Brittle(label) => output.push(cx.child(Brittle { label }).await?),
                Kid::Fan(fan) => output.extend(cx.child(fan).await?),
                Kid::Stages(steps) => output.extend(cx.child(steps).await?),
                Kid::Watch(watch) => output.extend(cx.child(watch).await?),
                Kid::Own(own) => output.extend(cx.child(own).await?),
                Kid::Line(line) => output.extend(cx.child(line).await?),
                Kid::Saga(plan) => cx.child(Saga { plan }).await?,
            }
        }
        Ok(output)
    }
}
