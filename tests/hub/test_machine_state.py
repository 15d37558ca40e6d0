"""The machine's state: what can be read is there, what cannot is absent."""

from __future__ import annotations

from holdfast.hub.machine_state import machine_state


def write(root, **files):
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_everything_readable(tmp_path):
    cpu, thermal = tmp_path / "cpu", tmp_path / "thermal"
    for core, (speed, governor, slowed) in enumerate([("800000", "powersave", "2"), ("3200000", "x", "3")]):
        write(cpu, **{f"cpu{core}__cpufreq__scaling_cur_freq": speed + "\n"})
        write(cpu, **{f"cpu{core}__cpufreq__scaling_governor": governor + "\n"})
        write(cpu, **{f"cpu{core}__thermal_throttle__core_throttle_count": slowed})
    write(cpu, intel_pstate__no_turbo="1\n")
    write(thermal, thermal_zone0__temp="41000\n", thermal_zone1__temp="67500\n", thermal_zone2__temp="junk")
    state = machine_state(cpu, thermal)
    assert (state["frequency_mhz_lowest"], state["frequency_mhz_highest"]) == (800.0, 3200.0)
    assert (state["governor"], state["turbo"], state["throttled"]) == ("powersave,x", "off", 5)
    assert state["temperature_c"] == 67.5


def test_what_is_unreadable_is_absent(tmp_path):
    state = machine_state(tmp_path / "none", tmp_path / "none")
    assert not {"frequency_mhz_lowest", "governor", "turbo", "temperature_c", "throttled"} & set(state)
    assert state["memory_free_bytes"] > 0
    assert "time" in state
