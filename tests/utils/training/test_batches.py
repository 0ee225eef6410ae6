"""The micro-batches of an epoch for any number of processes."""

import pytest

from utils.training.batches import BatchError, EpochBatches, StepPlan, plan_steps


def steps_of(plan: StepPlan, num_videos: int, *, epoch: int = 0) -> list[list[int]]:
    """Return the videos of each optimizer step, over all ranks."""
    steps: list[list[int]] = [[] for _ in range(plan.steps_per_epoch(num_videos))]
    for rank in range(plan.world_size):
        batches = EpochBatches(num_videos, plan, rank=rank, seed=(3, 1))
        batches.start(epoch)
        listed = list(batches)
        assert len(listed) == len(batches) == plan.batches_per_epoch(num_videos)
        for number, batch in enumerate(listed):
            assert len(batch) == plan.micro_batch
            assert {key_epoch for key_epoch, _ in batch} == {epoch}
            steps[number // plan.micro_batches] += [video for _, video in batch]
    return [sorted(step) for step in steps]


@pytest.mark.parametrize("world_size", [1, 2, 3, 4, 6, 12])
def test_a_step_sees_the_same_number_of_clips_on_any_number_of_processes(world_size: int) -> None:
    plan = plan_steps(batch_size=2, iter_size=3, num_gpu=4, world_size=world_size)
    assert plan.micro_batch * plan.micro_batches * world_size == 24
    assert plan.micro_batch <= 2


def test_the_plan_equals_the_record_on_its_own_number_of_gpus() -> None:
    def shares(world_size: int, **sizes: int) -> tuple[int, int]:
        plan = plan_steps(world_size=world_size, **sizes)
        return plan.micro_batch, plan.micro_batches

    assert shares(4, batch_size=16, iter_size=4, num_gpu=4) == (16, 4)
    assert shares(1, batch_size=16, iter_size=4, num_gpu=4) == (16, 16)
    assert shares(8, batch_size=16, iter_size=4, num_gpu=4) == (16, 2)
    assert shares(4, batch_size=16, iter_size=1, num_gpu=1) == (4, 1)


def test_the_rate_is_taken_at_the_same_place_on_any_number_of_processes() -> None:
    for num_videos in (96, 100, 120):
        positions = []
        for world in (1, 2, 4, 8):
            plan = plan_steps(batch_size=2, iter_size=3, num_gpu=4, world_size=world)
            steps = range(plan.steps_per_epoch(num_videos))
            positions.append([plan.schedule_position(epoch=1, step=step, num_videos=num_videos) for step in steps])
        assert positions[0] == positions[1] == positions[2] == positions[3]
        length = num_videos // 8  # record batches of 2 x 4 clips
        assert positions[0][:2] == [length + 2, length + 5]
        assert positions[0][-1] == 2 * length - 1


@pytest.mark.parametrize("world_size", [5, 7, 48])
def test_clips_that_cannot_be_divided_are_refused(world_size: int) -> None:
    with pytest.raises(BatchError, match=rf"24 clips .*{world_size} processes"):
        plan_steps(batch_size=2, iter_size=3, num_gpu=4, world_size=world_size)


def test_steps_hold_the_same_videos_for_one_two_and_four_processes() -> None:
    plans = [plan_steps(batch_size=2, iter_size=2, num_gpu=4, world_size=world) for world in (1, 2, 4)]
    for num_videos in (16, 40, 47):  # whole steps, a part of a step, videos left over
        assert steps_of(plans[0], num_videos) == steps_of(plans[1], num_videos) == steps_of(plans[2], num_videos)


def test_an_epoch_has_every_video_once_except_the_incomplete_batch() -> None:
    plan = plan_steps(batch_size=4, iter_size=3, num_gpu=1, world_size=1)
    seen = [video for step in steps_of(plan, 50) for video in step]
    assert len(seen) == len(set(seen)) == 48
    assert [len(step) for step in steps_of(plan, 50)] == [12, 12, 12, 12]
    assert [len(step) for step in steps_of(plan, 44)] == [12, 12, 12, 8]
    assert plan.batches_of_step(3, 44) == 2


def test_epochs_differ_and_are_reproducible() -> None:
    plan = plan_steps(batch_size=4, iter_size=1, num_gpu=1, world_size=1)
    assert steps_of(plan, 40, epoch=0) == steps_of(plan, 40, epoch=0)
    assert steps_of(plan, 40, epoch=0) != steps_of(plan, 40, epoch=1)


def test_an_epoch_can_resume_in_the_middle() -> None:
    plan = plan_steps(batch_size=4, iter_size=1, num_gpu=1, world_size=1)
    batches = EpochBatches(40, plan, rank=0, seed=(0,))
    batches.start(2)
    whole = list(batches)
    batches.start(2, first_batch=7)
    assert list(batches) == whole[7:]
    assert len(batches) == 3


def test_a_list_shorter_than_a_batch_is_refused() -> None:
    plan = plan_steps(batch_size=8, iter_size=1, num_gpu=1, world_size=1)
    with pytest.raises(BatchError, match="7 videos, fewer than the 8 clips of one batch"):
        EpochBatches(7, plan, rank=0, seed=(0,))
