//! The five stories. Each of them runs from its beginning to its end from outside, and every number of it is
//! asserted.

mod story_1_file_access;
mod story_2_zero_byte_uploads;
mod story_3_upload_outage;
mod story_4_hotfix_100_users;
mod story_5_lost_tag;
