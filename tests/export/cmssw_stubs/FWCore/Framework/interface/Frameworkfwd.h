#pragma once

namespace edm {
  class Event;
  class EventSetup;
  class ParameterSet;
}  // namespace edm
