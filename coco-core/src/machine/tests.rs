//! Driving the machine by hand.
