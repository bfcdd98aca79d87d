//! Whatever names the user's crate has, the expansions mean ours.

#![no_implicit_prelude]
#![forbid(unsafe_code)]
#![deny(warnings, missing_docs, unreachable_pub, unused_qualifications)]
#![allow(non_camel_case_types)]

/// In the way.
pub mod core {}
/// In the way.
pub mod std {}
/// In the way.
pub mod typetag {}
/// In the way.
pub mod inventory {}
/// In the way.
pub mod coco_core {}
/// In the way.
pub mod serde {}

/// In the way.
pub struct String;
/// In the way.
pub struct Vec;
/// In the way.
pub struct Box;
/// In the way.
pub struct Command;
/// In the way.
pub struct Result;
/// In the way.
pub struct lock;

/// A key.
#[derive(::coco_core::LockKey, ::serde::Serialize, ::serde::Deserialize)]
#[lock_key(group = "disk")]
pub struct Disk(u8);

/// A resource.
pub struct Storage;

/// A command.
#[derive(::coco_core::Command, ::serde::Serialize, ::serde::Deserialize)]
#[command(lock = Execution, wait = "30s", callback = SerialChildren, needs(Storage))]
#[command(timeout = "1h", concurrency = 2)]
pub struct MoveDisk {
    #[lock(exclusive)]
    disk: Disk,
    #[lock(shared, group = "vm")]
    vm: u8,
    #[lock(shared)]
    sources: ::std::vec::Vec<Disk>,
    #[lock(exclusive, group = "target")]
    target: ::core::option::Option<u8>,
}

impl ::coco_core::Execute for MoveDisk {
    type Output = u8;

    async fn execute(&mut self, _: &::coco_core::Context<Self>) -> ::coco_core::Result<u8> {
        ::std::result::Result::Ok(self.disk.0)
    }
}

/// A leaf.
#[derive(::coco_core::Command, ::serde::Serialize, ::serde::Deserialize)]
#[command(retry(attempts = 2, backoff = "1s", max_backoff = "2s"))]
pub struct WipeDisk;

impl ::coco_core::Execute for WipeDisk {
    type Output = ();

    async fn execute(&mut self, _: &::coco_core::Context<Self>) -> ::coco_core::Result<()> {
        ::std::result::Result::Ok(())
    }
}

/// Where our types have their names.
pub mod in_scope {
    use ::coco_core::callback::{Custom, Polling};

    /// In the way.
    pub mod callback {}
    /// In the way.
    pub struct Duration;
    /// One of the program's own.
    pub struct AnyOf<T>(pub ::core::marker::PhantomData<fn() -> T>);
    /// The same.
    pub type Ours = (Polling, Custom<AnyOf<u8>>);

    /// Is polled.
    #[derive(::coco_core::Command, ::serde::Serialize, ::serde::Deserialize)]
    #[command(callback = Polling, poll(every = "1s", max = "2s"))]
    pub struct Reboot;

    /// Has a callback of its own.
    #[derive(::coco_core::Command, ::serde::Serialize, ::serde::Deserialize)]
    #[command(callback = AnyOf<u8>, poll(max = "2s"))]
    pub struct FindHost;

    impl ::coco_core::Execute for Reboot {
        type Output = ();

        async fn execute(&mut self, _: &::coco_core::Context<Self>) -> ::coco_core::Result<()> {
            ::std::result::Result::Ok(())
        }
    }

    impl ::coco_core::Execute for FindHost {
        type Output = ();

        async fn execute(&mut self, _: &::coco_core::Context<Self>) -> ::coco_core::Result<()> {
            ::std::result::Result::Ok(())
        }
    }

    impl ::coco_core::Polling for Reboot {
        async fn poll(
            &mut self,
            _: &mut (),
            _: &::coco_core::Context<Self>,
        ) -> ::coco_core::Result<::coco_core::callback::Poll> {
            ::std::result::Result::Ok(::coco_core::callback::Poll::Ready)
        }
    }

    impl<C: ::coco_core::Execute, T: 'static> ::coco_core::CommandCallback<C> for AnyOf<T> {
        async fn do_polling(
            _: &mut C,
            _: &mut C::Output,
            _: &::coco_core::callback::Outcomes,
            _: &::coco_core::Context<C>,
        ) -> ::coco_core::Result<::coco_core::callback::Poll> {
            ::std::result::Result::Ok(::coco_core::callback::Poll::Ready)
        }
    }
}

#[::core::prelude::v1::test]
fn it_still_works() {
    let command = MoveDisk {
        disk: Disk(1),
        vm: 2,
        sources: ::std::vec![Disk(2)],
        target: ::core::option::Option::Some(3),
    };
    ::std::assert_eq!(::coco_core::Declaration::locks(&command).len(), 4);
    let _: ::std::boxed::Box<dyn ::coco_core::DynCommand> = ::std::boxed::Box::new(command);
}
