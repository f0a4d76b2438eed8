# What ctest says of PROBE, by which of its tests it is asked for; and that every test program of BUILD is listed as PROBE is here.
set(cases
  "passes|Passes|Passed"
  "fails|Fails|Failed"
  "is_skipped|IsSkipped*|Skipped"
  "is_skipped_in_part|Passes:*.IsSkipped|Passed"
  "fails_and_is_skipped|Fails:*.IsSkipped|Failed"
  "has_no_such_name|Absent|Failed")
file(REMOVE_RECURSE ${WORK})
set(list)
foreach(case ${cases})
  string(REGEX MATCH "(.*)\\|(.*)\\|(.*)" _ ${case})
  string(APPEND list "add_test(${CMAKE_MATCH_1} \"${PROBE}\" \"--gtest_filter=*.${CMAKE_MATCH_2}\")\n"
    "set_tests_properties(${CMAKE_MATCH_1} PROPERTIES SKIP_RETURN_CODE 77)\n")
endforeach()
file(WRITE ${WORK}/CTestTestfile.cmake ${list})
execute_process(COMMAND ${CMAKE_CTEST_COMMAND} WORKING_DIRECTORY ${WORK} OUTPUT_VARIABLE output ERROR_VARIABLE output)
foreach(case ${cases})
  string(REGEX MATCH "(.*)\\|(.*)\\|(.*)" _ ${case})
  set(name ${CMAKE_MATCH_1})
  set(verdict ${CMAKE_MATCH_3})
  if(NOT output MATCHES " ${name} [ .*]*${verdict} ")
    message(SEND_ERROR "${name} should be ${verdict}:\n${output}")
  endif()
endforeach()

execute_process(COMMAND ${CMAKE_CTEST_COMMAND} --show-only=json-v1 WORKING_DIRECTORY ${BUILD} OUTPUT_VARIABLE output COMMAND_ERROR_IS_FATAL ANY)
string(JSON tests GET ${output} tests)
string(JSON last LENGTH ${tests})
math(EXPR last "${last} - 1")
set(programs 0)
foreach(i RANGE ${last})
  string(JSON test GET ${tests} ${i})
  if(test MATCHES "SKIP_REGULAR_EXPRESSION")
    message(SEND_ERROR "a failure beside a skipped test would not be seen: ${test}")
  endif()
  if(test MATCHES "--gtest_filter")
    math(EXPR programs "${programs} + 1")
    if(NOT test MATCHES "\"SKIP_RETURN_CODE\",[ \n]*\"value\" : 77")
      message(SEND_ERROR "it is not skipped by its exit code: ${test}")
    endif()
  endif()
endforeach()
if(programs LESS 20)
  message(SEND_ERROR "of ${last} tests ${programs} are test programs")
endif()
