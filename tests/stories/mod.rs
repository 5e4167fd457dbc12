//! The five stories, each start to finish through the front door, every figure of it asserted.

mod story_1_file_access;
mod story_3_upload_outage;
