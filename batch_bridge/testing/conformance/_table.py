"""The table: everything that the engine relies on, in the order in which a provider is best brought up."""

from typing import Final

from batch_bridge.testing.conformance import _calls, _creating, _ending, _lines, _plain
from batch_bridge.testing.conformance._behaviour import Behaviour

_CALLS: Final = ("flex", "realtime")

BEHAVIOURS: Final[tuple[Behaviour, ...]] = (
    Behaviour("every_request_gets_its_own_answer", (), _plain.own_answers),
    Behaviour("every_item_form_is_answered", (), _plain.forms),
    Behaviour("a_bad_item_harms_no_neighbour", (), _plain.bad_item),
    Behaviour("one_flush_may_be_many_batches", (), _plain.many_batches, ("many",)),
    Behaviour("it_meets_one_event_loop_after_another", (), _plain.event_loops),
    Behaviour("it_works_again_after_aclose", (), _plain.closed),
    Behaviour("another_process_polls_by_the_handle", (), _plain.another_process, ("process",)),
    Behaviour("release_may_be_repeated", (), _plain.release),
    Behaviour("sizes_are_exact", ("server", "bytes"), _plain.sizes),
    Behaviour("what_was_billed_is_summed", ("server", "usage"), _plain.usage),
    Behaviour("failed_lines_harm_no_neighbour", ("line_failure",), _lines.failed),
    Behaviour("missing_lines_are_errors", ("missing_line",), _lines.missing),
    Behaviour("doubled_and_unknown_lines_are_put_aside", ("doubled_line", "unknown_line"), _lines.strange),
    Behaviour("broken_lines_harm_no_neighbour", ("garbled_line",), _lines.garbled),
    Behaviour("dirty_lines_are_read", ("dirty_line",), _lines.dirty),
    Behaviour("an_error_in_place_of_an_answer_fails", ("error_answer",), _lines.error_answers),
    Behaviour("lines_that_never_ran_may_be_sent_again", ("unrun_line",), _lines.unrun),
    Behaviour("errors_inside_errors_are_read", ("line_failure", "wrapped_error"), _lines.wrapped),
    Behaviour("a_download_that_breaks_off_is_read_again", ("cut_download",), _lines.cut),
    Behaviour("results_that_are_gone_are_errors", ("output_missing",), _lines.gone),
    Behaviour("an_expired_batch_keeps_what_was_done", ("expiry",), _ending.expired),
    Behaviour("a_failed_batch_fails_its_requests", ("batch_failure",), _ending.failed),
    Behaviour("a_cancelled_batch_cancels_what_has_not_run", ("server", "cancel"), _ending.cancelled),
    Behaviour(
        "a_batch_cancelled_half_way_keeps_what_was_done", ("server", "cancel", "partial"), _ending.cancelled_half_way
    ),
    Behaviour("results_that_are_late_are_waited_for", ("files_after",), _ending.late_results),
    Behaviour("an_unknown_status_goes_on", ("unknown_status",), _ending.unknown_status),
    Behaviour("a_stuck_batch_goes_on", ("stuck",), _ending.stuck),
    Behaviour("a_forgotten_batch_ends", ("forgotten",), _ending.forgotten),
    Behaviour("polls_that_fail_are_repeated", ("poll_error",), _ending.poll_errors),
    Behaviour("an_upload_that_fails_is_repeated", ("upload_error",), _creating.upload_error),
    Behaviour("a_file_that_is_not_seen_yet_is_waited_for", ("unseen_file",), _creating.unseen_file),
    Behaviour("a_create_over_the_rate_is_repeated_later", ("create_rate_limit",), _creating.rate_limit),
    Behaviour("a_create_whose_answer_was_lost_is_not_repeated", ("drop_create_response",), _creating.lost),
    Behaviour("a_create_whose_answer_was_lost_is_adopted", ("drop_create_response", "find"), _creating.adopted),
    Behaviour("an_error_after_a_create_is_looked_up", ("create_error_after", "find"), _creating.error_after),
    Behaviour("an_error_before_a_create_is_looked_up", ("create_error", "find", "fence"), _creating.error_before),
    Behaviour("a_listing_that_fails_is_repeated", ("list_error", "drop_create_response", "find"), _creating.list_error),
    Behaviour("a_batch_that_shows_up_late_is_waited_for", ("visible_after",), _creating.late),
    Behaviour("a_ghost_is_not_paid", ("visible_after", "drop_create_response", "find", "fence"), _creating.ghost),
    Behaviour("a_crash_before_the_create_pays_once", ("server", "find", "fence"), _creating.crash_before),
    Behaviour("a_crash_after_the_create_pays_once", ("server", "find"), _creating.crash_after),
    Behaviour("two_batches_of_one_key_are_both_found", ("find",), _creating.doubled),
    Behaviour("a_response_that_failed_for_now_may_be_sent_again", ("server",), _calls.failed_response, (), ("window",)),
    Behaviour("a_tier_without_room_is_asked_again", ("server",), _calls.refused, (), ("flex",)),
    Behaviour("a_call_that_failed_for_now_is_repeated", ("server",), _calls.repeated, (), _CALLS),
    Behaviour("a_call_that_is_refused_harms_no_neighbour", ("server",), _calls.failed_call, (), _CALLS),
    Behaviour("calls_of_a_dead_process_are_not_repeated", ("server",), _calls.interrupted, (), _CALLS),
)
"""Each behaviour with what it needs of the server and of the provider."""
