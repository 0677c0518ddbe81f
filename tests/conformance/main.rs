//! What the standards demand, through the core's public interface: one file a chapter, one body for all
//! versions where they agree.

mod qos;
