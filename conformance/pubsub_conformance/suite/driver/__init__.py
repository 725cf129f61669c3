"""The driver protocol (DRIVER.md): whether a driver speaks it.

In these tests, and nowhere else, a DriverError is a finding about the driver under test: `finds`
makes it a failure and adds a hint at the usual mistake. The start of a driver takes longer than any
request, so a test sends to one process all requests that a driver must survive.
"""
